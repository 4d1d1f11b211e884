//! Streams of a lane in two parts, dealt to the banks of shared memory (Banked, Slots).

/// Lanes of a warp, and banks.
pub(crate) const LANES: usize = 32;

/// Entries of a lane in a part, at most.
const MOST: usize = 32;

/// Where the lanes' second parts lie, if the first are in the banks of their own numbers.
pub(crate) struct Deal {
    /// Bank of each lane's second part, which begins behind what that bank has.
    pub bank: [u8; LANES],
    /// Entries of the longest bank.
    pub rows: usize,
}

impl Deal {
    /// Of the entries of each lane. The fullest banks go to the lanes that add least, so that all end close together; equals in order.
    pub(crate) fn of(first: &[u8; LANES], second: &[u8; LANES]) -> Self {
        let fullest = order(|bank| MOST - usize::from(first[bank]).min(MOST));
        let least = order(|lane| usize::from(second[lane]).min(MOST));
        let mut deal = Self { bank: [0; LANES], rows: 0 };
        for (its, lane) in fullest.into_iter().zip(least) {
            deal.bank[usize::from(lane)] = its;
            let rows =
                usize::from(first[usize::from(its)]) + usize::from(second[usize::from(lane)]);
            deal.rows = deal.rows.max(rows);
        }
        deal
    }
}

/// Numbers sorted by their keys, which are [`MOST`] at most; equals in order. Counting sort.
fn order(key: impl Fn(usize) -> usize) -> [u8; LANES] {
    let mut at = [0u8; MOST + 2];
    for i in 0..LANES {
        at[key(i) + 1] += 1;
    }
    for k in 1..at.len() {
        at[k] += at[k - 1];
    }
    let mut sorted = [0; LANES];
    for i in 0..LANES {
        let place = &mut at[key(i)];
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
        assert_eq!(deal.rows, 33);
    }
}
