//! XXH3 with 64 bits and seed 0, on all cores, and while the bytes are copied.
//!
//! The hash of long input is eight sums over blocks of 1024 bytes that are scrambled after each block. What a block
//! adds to the sums depends on nothing but its bytes, so that blocks are summed up in any order, by any thread; only
//! the scrambling, 64 bytes a block, is one after the other. The result is what `xxhash_rust` computes on one core.

use rayon::prelude::*;

use crate::pool;

/// Bytes between two scramblings.
const BLOCK: usize = 1024;
/// Bytes that are added to the sums at a time.
const STRIPE: usize = 64;
/// What one thread copies and sums up at a time; it stays in its cache between the two.
const PIECE: usize = 1 << 20;
/// Whose sums are in memory at a time.
const TOGETHER: usize = 16 << 20;
/// Shorter input is hashed on one core.
const SMALL: usize = 1 << 20;

type Sums = [u64; 8];

const PRIME32_1: u64 = 0x9E37_79B1;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const START: Sums = [
    0xC2B2_AE3D,
    PRIME64_1,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x85EB_CA77,
    0x27D4_EB2F_1656_67C5,
    PRIME32_1,
];
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

/// Eight words of the secret from byte `at` on.
const fn keys(at: usize) -> Sums {
    let mut keys = [0; 8];
    let mut i = 0;
    while i < STRIPE {
        keys[i / 8] |= (SECRET[at + i] as u64) << (8 * (i % 8));
        i += 1;
    }
    keys
}

/// The keys of a block's stripes.
static STRIPE_KEYS: [Sums; BLOCK / STRIPE] = {
    let mut all = [[0; 8]; BLOCK / STRIPE];
    let mut i = 0;
    while i < all.len() {
        all[i] = keys(8 * i);
        i += 1;
    }
    all
};
static SCRAMBLE_KEYS: Sums = keys(SECRET.len() - STRIPE);
static LAST_KEYS: Sums = keys(SECRET.len() - STRIPE - 7);

#[inline(always)]
fn add(sums: &mut Sums, stripe: &[u8], keys: &Sums) {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(stripe.chunks_exact(8)) {
        *word = u64_at(bytes, 0);
    }
    for i in 0..8 {
        let key = words[i] ^ keys[i];
        let product = (key & 0xffff_ffff).wrapping_mul(key >> 32);
        sums[i] = sums[i].wrapping_add(words[i ^ 1]).wrapping_add(product);
    }
}

/// Adds stripes of one block, from its first one on.
#[inline(always)]
fn sum_stripes(bytes: &[u8], sums: &mut Sums) {
    for (stripe, keys) in bytes.chunks_exact(STRIPE).zip(&STRIPE_KEYS) {
        add(sums, stripe, keys);
    }
}

/// What each block adds.
fn sum_up(bytes: &[u8], sums: &mut [Sums]) {
    for (block, sums) in bytes.chunks_exact(BLOCK).zip(sums) {
        let mut own = [0; 8];
        sum_stripes(block, &mut own);
        *sums = own;
    }
}

fn join(acc: &mut Sums, more: &Sums) {
    for (acc, more) in acc.iter_mut().zip(more) {
        *acc = acc.wrapping_add(*more);
    }
}

/// Takes complete blocks into the sums, in order.
fn fold(acc: &mut Sums, blocks: &[Sums]) {
    for block in blocks {
        for ((acc, more), key) in acc.iter_mut().zip(block).zip(&SCRAMBLE_KEYS) {
            let sum = acc.wrapping_add(*more);
            *acc = (sum ^ sum >> 47 ^ key).wrapping_mul(PRIME32_1);
        }
    }
}

/// The hash of bytes that are summed up piece by piece, by all cores, until [`Hash::finish`].
pub struct Hash {
    bytes: usize,
    /// Complete blocks so far.
    blocks: usize,
    acc: Sums,
    /// Their last ones, which are not folded yet.
    pending: Vec<Sums>,
}

impl Hash {
    /// For `bytes` bytes in all.
    pub fn new(bytes: usize) -> Self {
        Self { bytes, blocks: 0, acc: START, pending: Vec::new() }
    }

    /// Blocks that are complete and not the last one, of the next `bytes` bytes.
    fn blocks_in(&self, bytes: usize) -> usize {
        let before_last = self.bytes.saturating_sub(1) / BLOCK;
        (bytes / BLOCK).min(before_last.saturating_sub(self.blocks))
    }

    /// Lets `sum_up` fill in the sums of the next blocks while those of the last ones are folded.
    fn more(&mut self, blocks: usize, sum_up: impl FnOnce(&mut [Sums]) + Send) {
        let mut sums = vec![[0; 8]; blocks];
        let (acc, pending) = (&mut self.acc, &self.pending);
        pool::run(|| rayon::join(|| fold(acc, pending), || sum_up(&mut sums)));
        self.pending = sums;
        self.blocks += blocks;
    }

    /// Takes in the next bytes, a multiple of 1024 unless they are the last, and copies them to `to`, which is as
    /// long.
    pub fn copy(&mut self, to: &mut [u8], from: &[u8]) {
        let blocks = self.blocks_in(from.len());
        let (to, to_rest) = to.split_at_mut(blocks * BLOCK);
        let (from, rest) = from.split_at(blocks * BLOCK);
        self.more(blocks, |sums| {
            let copies = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
            copies.zip(sums.par_chunks_mut(PIECE / BLOCK)).for_each(|((to, from), sums)| {
                to.copy_from_slice(from);
                // Of the copy: that is what will be used, and it is in the cache.
                sum_up(to, sums);
            });
        });
        to_rest.copy_from_slice(rest);
    }

    /// Takes in the next bytes, a multiple of 1024.
    fn read(&mut self, from: &[u8]) {
        let blocks = self.blocks_in(from.len());
        self.more(blocks, |sums| {
            let pieces = from[..blocks * BLOCK].par_chunks(PIECE);
            pieces.zip(sums.par_chunks_mut(PIECE / BLOCK)).for_each(|(from, sums)| {
                sum_up(from, sums);
            });
        });
    }

    /// The hash of `all`, of which beginning the bytes so far were.
    pub fn finish(mut self, all: &[u8]) -> u64 {
        if all.len() < SMALL {
            return xxhash_rust::xxh3::xxh3_64(all);
        }
        while self.blocks_in(all.len() - self.blocks * BLOCK) > 0 {
            let at = self.blocks * BLOCK;
            self.read(&all[at..all.len().min(at + TOGETHER)]);
        }
        let mut acc = self.acc;
        fold(&mut acc, &self.pending);
        // The last block has one byte at least, and its last stripe ends where the bytes do.
        let last = &all[self.blocks * BLOCK..];
        let whole = (last.len() - 1) / STRIPE * STRIPE;
        let mut sums = [[0; 8]];
        sum_stripes(&last[..whole], &mut sums[0]);
        let end = &all[all.len() - STRIPE..];
        add(&mut sums[0], end, &LAST_KEYS);
        join(&mut acc, &sums[0]);
        let mut hash = (all.len() as u64).wrapping_mul(PRIME64_1);
        for (i, pair) in acc.chunks_exact(2).enumerate() {
            let key = |at: usize| u64_at(&SECRET, 11 + 16 * i + at);
            let product = u128::from(pair[0] ^ key(0)) * u128::from(pair[1] ^ key(8));
            hash = hash.wrapping_add(product as u64 ^ (product >> 64) as u64);
        }
        hash = (hash ^ hash >> 37).wrapping_mul(0x1656_6791_9E37_79F9);
        hash ^ hash >> 32
    }
}

/// XXH3 of bytes in memory.
pub fn xxh3_64(bytes: &[u8]) -> u64 {
    Hash::new(bytes.len()).finish(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn every_length_has_the_hash_of_one_core() {
        let all = noise(2 * SMALL + 5000);
        let lengths = [0, 1, 63, 64, 240, 241, 1024, 4097, SMALL - 1, SMALL, SMALL + 1];
        let around = (SMALL + 1020..SMALL + 1030).chain(SMALL + 60..SMALL + 70);
        for length in lengths.into_iter().chain(around).chain([2 * SMALL + 5000]) {
            let bytes = &all[..length];
            assert_eq!(xxh3_64(bytes), xxhash_rust::xxh3::xxh3_64(bytes), "{length} bytes");
        }
    }

    #[test]
    fn bytes_that_are_copied_in_pieces_are_the_same_and_have_the_same_hash() {
        for (copied, behind) in [(2 * SMALL, 0), (SMALL + 1024, 255), (SMALL + 77, 1), (3000, 0)] {
            let all = noise(copied + behind);
            let mut to = vec![0; copied];
            let mut hash = Hash::new(all.len());
            for (to, from) in to.chunks_mut(300 << 10).zip(all[..copied].chunks(300 << 10)) {
                hash.copy(to, from);
            }
            assert_eq!(to, all[..copied]);
            assert_eq!(hash.finish(&all), xxhash_rust::xxh3::xxh3_64(&all), "{copied} + {behind}");
        }
    }
}
