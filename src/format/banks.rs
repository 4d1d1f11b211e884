//! Streams of lanes, dealt to the banks of shared memory (Banked, Bitmap, Slots).

/// Lanes of a warp, and banks.
pub(crate) const LANES: usize = 32;

/// Which bank each lane adds to, one lane a bank.
pub(crate) struct Deal {
    /// Bank of each lane, which begins behind what that bank has.
    pub bank: [u8; LANES],
    /// Entries of each bank then.
    pub filled: [usize; LANES],
}

impl Deal {
    /// Of what each bank has and each lane adds. The fullest banks go to the lanes that add least, so that all end close together;
    /// equals in order.
    pub(crate) fn of(first: &[u8; LANES], second: &[u8; LANES]) -> Self {
        let longest = first.iter().copied().max().unwrap_or(0);
        let fullest = order(&first.map(|entries| longest - entries));
        let least = order(second);
        let mut deal = Self { bank: [0; LANES], filled: first.map(usize::from) };
        for (its, lane) in fullest.into_iter().zip(least) {
            deal.bank[usize::from(lane)] = its;
            deal.filled[usize::from(its)] += usize::from(second[usize::from(lane)]);
        }
        deal
    }

    /// Entries of the longest bank.
    pub(crate) fn rows(&self) -> usize {
        self.filled.iter().copied().max().unwrap_or(0)
    }
}

/// Numbers sorted by their keys; equals in order. Counting sort.
fn order(keys: &[u8; LANES]) -> [u8; LANES] {
    let mut at = [0u8; 1 + u8::MAX as usize + 1];
    let mut largest = 0;
    for &key in keys {
        at[usize::from(key) + 1] += 1;
        largest = largest.max(usize::from(key));
    }
    for k in 1..=largest {
        at[k] += at[k - 1];
    }
    let mut sorted = [0; LANES];
    for (i, &key) in keys.iter().enumerate() {
        let place = &mut at[usize::from(key)];
        sorted[usize::from(*place) % LANES] = i as u8;
        *place += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_bank_goes_to_the_lane_that_adds_least_and_equals_are_in_order() {
        let (mut first, mut second) = ([5; LANES], [7; LANES]);
        (first[3], first[9], second[0], second[31]) = (32, 0, 1, 32);
        let deal = Deal::of(&first, &second);
        assert_eq!((deal.bank[0], deal.bank[31]), (3, 9));
        assert_eq!((deal.bank[1], deal.bank[2], deal.bank[30]), (0, 1, 31));
        assert_eq!(deal.rows(), 33);
        first[17] = u8::MAX;
        let deal = Deal::of(&first, &second);
        assert_eq!((deal.bank[0], deal.bank[1], deal.rows()), (17, 3, 256));
    }
}
