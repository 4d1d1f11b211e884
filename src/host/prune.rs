//! Magnitude pruning on the CPU: exactly so many elements become zero.
//!
//! A magnitude is the lower 15 bits of an element: they order fp16 and bf16 alike, NaN after infinity.

use rayon::prelude::*;

use crate::error::Result;
use crate::pool;
use crate::types::{DenseLayout, zeros};

const MAGNITUDES: usize = 1 << 15;

/// Elements that are pruned: up to the threshold, and of those that equal it the first ones.
#[derive(Clone, Copy)]
struct Cut {
    threshold: u16,
    ties: usize,
}

impl Cut {
    fn of(counts: &[usize], target: usize) -> Self {
        let mut below = 0;
        for (magnitude, &count) in counts.iter().enumerate() {
            if below + count >= target {
                return Self { threshold: magnitude as u16, ties: target - below };
            }
            below += count;
        }
        // Not reached: the target is at most the number of elements.
        Self { threshold: 0, ties: 0 }
    }

    /// Whether the element goes; the next tie is counted.
    fn takes(&mut self, value: u16) -> bool {
        let magnitude = value & 0x7fff;
        let tie = magnitude == self.threshold && self.ties > 0;
        self.ties -= usize::from(tie);
        magnitude < self.threshold || tie
    }
}

fn new_counts() -> Result<Vec<usize>> {
    zeros(MAGNITUDES, "the numbers of elements by magnitude")
}

fn count(layout: &DenseLayout, values: &[u16], row: usize, counts: &mut [usize]) {
    for col in 0..layout.cols {
        counts[usize::from(values[layout.index(row, col)] & 0x7fff)] += 1;
    }
}

/// Zeroes in `values` the `target` elements of smallest magnitude; of equal ones the first in row-major order.
/// `values` is as long as the layout's extent, `target` at most rows x cols. Only memory can be lacking, and then nothing is written.
pub fn matrix(layout: &DenseLayout, values: &mut [u16], target: usize) -> Result<()> {
    let shared = &*values;
    let parts = (0..layout.rows).into_par_iter().fold(new_counts, |counts, row| {
        let mut counts = counts?;
        count(layout, shared, row, &mut counts);
        Ok(counts)
    });
    let add = |mut a: Vec<usize>, b: Vec<usize>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        Ok(a)
    };
    // A matrix without rows has no parts.
    let counts = pool::run(|| parts.try_reduce_with(add)).unwrap_or_else(new_counts)?;
    let mut cut = Cut::of(&counts, target);
    for row in 0..layout.rows {
        for col in 0..layout.cols {
            let value = &mut values[layout.index(row, col)];
            if cut.takes(*value) {
                *value = 0;
            }
        }
    }
    Ok(())
}

/// As [`matrix`] for each row by itself; `target` is at most cols.
pub fn rows(layout: &DenseLayout, values: &mut [u16], target: usize) -> Result<()> {
    let mut counts = new_counts()?;
    for row in 0..layout.rows {
        counts.fill(0);
        count(layout, values, row, &mut counts);
        let mut cut = Cut::of(&counts, target);
        for col in 0..layout.cols {
            let value = &mut values[layout.index(row, col)];
            if cut.takes(*value) {
                *value = 0;
            }
        }
    }
    Ok(())
}

/// Copies every element of a matrix to another of the same shape.
pub fn copy(from: &DenseLayout, values: &[u16], to: &DenseLayout, out: &mut [u16]) {
    for row in 0..from.rows {
        for col in 0..from.cols {
            out[to.index(row, col)] = values[from.index(row, col)];
        }
    }
}

/// Whether two matrices of one shape have the same bits, zeros of either sign being equal.
pub fn same(a: &DenseLayout, left: &[u16], b: &DenseLayout, right: &[u16]) -> bool {
    (0..a.rows).all(|row| {
        (0..a.cols).all(|col| {
            let (x, y) = (left[a.index(row, col)], right[b.index(row, col)]);
            x == y || (x | y) & 0x7fff == 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Order;

    #[test]
    fn exactly_the_target_goes_smallest_first_and_ties_by_index() {
        let layout = DenseLayout::new(2, 4, 5, Order::Row).unwrap();
        // 1, -2, NaN, 2 / inf, 2, 0, -0; the fifth of a row is not the matrix's.
        let source = [0x3c00, 0xc000, 0x7e00, 0x4000, 0x1111, 0x7c00, 0x4000, 0, 0x8000];
        let pruned = |target: usize| {
            let mut values = source;
            matrix(&layout, &mut values, target).unwrap();
            values
        };
        assert_eq!(pruned(0), source);
        assert_eq!(pruned(1), source);
        assert_eq!(pruned(2)[8], 0);
        assert_eq!(pruned(3)[0], 0);
        assert_eq!(pruned(4), [0, 0, 0x7e00, 0x4000, 0x1111, 0x7c00, 0x4000, 0, 0]);
        assert_eq!(pruned(5), [0, 0, 0x7e00, 0, 0x1111, 0x7c00, 0x4000, 0, 0]);
        assert_eq!(pruned(7), [0, 0, 0x7e00, 0, 0x1111, 0, 0, 0, 0]);
        assert_eq!(pruned(8), [0, 0, 0, 0, 0x1111, 0, 0, 0, 0]);
        let mut by_row = source;
        rows(&layout, &mut by_row, 2).unwrap();
        assert_eq!(by_row, [0, 0, 0x7e00, 0x4000, 0x1111, 0x7c00, 0x4000, 0, 0]);
    }

    #[test]
    fn ties_go_in_row_major_order_whatever_the_memory_order() {
        let layout = DenseLayout::new(2, 3, 2, Order::Col).unwrap();
        let mut values = [0x3c00; 6];
        matrix(&layout, &mut values, 3).unwrap();
        // The first row is every other element.
        assert_eq!(values, [0, 0x3c00, 0, 0x3c00, 0, 0x3c00]);
    }
}
