//! Text that is compressed while it is written, and put together again as one gzip file or as the
//! text that it was.
//!
//! Large text is compressed in blocks that know nothing of each other. So two threads can work
//! on them, and blocks of several texts can stand behind each other in one file.

use std::fmt;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};
use hyper::body::Bytes;

use crate::background::{Shared, Worker};

/// Text that is compressed at once, in bytes.
const BLOCK: usize = 256 << 10;

/// Text that is put together again at once, in bytes.
const PIECE: usize = 64 << 10;

/// Level 1: higher levels take a multiple of the time to save little of what is left.
const LEVEL: u32 = 1;

/// A compressed text.
#[derive(Debug, Default)]
pub struct Packed {
    blocks: Vec<Block>,
}

/// One block: a run of deflate blocks that refer to nothing before them.
#[derive(Debug)]
struct Block {
    deflated: Bytes,
    crc: Crc,
}

/// The header of a gzip file: deflate, no name, no time, compressed quickly, by nobody in particular.
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// A last deflate block without content.
const END: &[u8] = &[0x03, 0x00];

impl Packed {
    /// The length of the text.
    #[must_use]
    pub fn text_length(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.crc.amount())).sum()
    }
}

/// One gzip file of several texts behind each other, in parts.
#[must_use]
pub fn gzip<'p>(texts: impl IntoIterator<Item = &'p Packed>) -> Vec<Bytes> {
    let mut parts = vec![Bytes::from_static(HEADER)];
    let mut crc = Crc::new();
    for block in texts.into_iter().flat_map(|text| &text.blocks) {
        parts.push(block.deflated.clone());
        crc.combine(&block.crc);
    }
    let mut end = END.to_vec();
    end.extend(crc.sum().to_le_bytes());
    end.extend(crc.amount().to_le_bytes());
    parts.push(end.into());
    parts
}

/// The text of several texts behind each other, in pieces, each made when it is asked for.
#[derive(Debug)]
pub struct Unpacker {
    /// Last block first.
    blocks: Vec<Bytes>,
    inflate: Decompress,
    left: u64,
}

impl Unpacker {
    /// Nothing is unpacked yet.
    #[must_use]
    pub fn new<'p>(texts: impl IntoIterator<Item = &'p Packed> + Clone) -> Self {
        let left = texts.clone().into_iter().map(Packed::text_length).sum();
        let blocks = texts.into_iter().flat_map(|text| &text.blocks);
        let mut blocks: Vec<_> = blocks.map(|block| block.deflated.clone()).collect();
        blocks.reverse();
        Self { blocks, inflate: Decompress::new(false), left }
    }

    /// Bytes of text that are not unpacked yet.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; nothing at the end.
    ///
    /// # Panics
    /// When the blocks are not what was packed, which cannot be.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let mut piece = Vec::with_capacity(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)));
        while piece.len() < piece.capacity() {
            let block = self.blocks.last_mut()?;
            let before = self.inflate.total_in();
            self.inflate
                .decompress_vec(block, &mut piece, FlushDecompress::None)
                .expect("it was compressed here");
            let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX);
            let _ = block.split_to(taken);
            if block.is_empty() && piece.len() < piece.capacity() {
                self.blocks.pop();
            }
        }
        self.left -= piece.len() as u64;
        (!piece.is_empty()).then(|| piece.into())
    }
}

/// Takes a text and compresses it.
#[derive(Debug)]
pub struct Packer {
    block: Vec<u8>,
    blocks: Shared<Vec<u8>, Block>,
}

impl Default for Packer {
    fn default() -> Self {
        let worker = || {
            let mut compressor = Compressor::default();
            Box::new(move |text: Vec<u8>| compressor.compress(&text)) as Worker<_, _>
        };
        Self { block: Vec::new(), blocks: Shared::new(worker) }
    }
}

impl Packer {
    /// The text that was written.
    ///
    /// # Panics
    /// When compressing panicked, which is a defect.
    #[must_use]
    pub fn finish(mut self) -> Packed {
        if !self.block.is_empty() {
            self.blocks.push(self.block);
        }
        Packed { blocks: self.blocks.finish().collect() }
    }
}

impl fmt::Write for Packer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while self.block.len() + rest.len() >= BLOCK {
            let (now, later) = rest.split_at(BLOCK - self.block.len());
            self.block.extend_from_slice(now);
            self.blocks.push(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)));
            rest = later;
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }
}

/// Compresses blocks one after the other.
#[derive(Debug)]
struct Compressor {
    deflate: Compress,
    buffer: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::new(LEVEL), false), buffer: Vec::new() }
    }
}

impl Compressor {
    fn compress(&mut self, text: &[u8]) -> Block {
        self.deflate.reset();
        self.buffer.clear();
        // Text of numbers and names never grows, but names are chosen by others.
        self.buffer.reserve(text.len() / 8 + 1024);
        let mut crc = Crc::new();
        crc.update(text);
        loop {
            let done = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            self.deflate
                .compress_vec(&text[done..], &mut self.buffer, FlushCompress::Full)
                .expect("deflate takes everything");
            // With room left, everything is flushed.
            if self.buffer.len() < self.buffer.capacity() {
                break;
            }
            self.buffer.reserve(self.buffer.len());
        }
        Block { deflated: Bytes::copy_from_slice(&self.buffer), crc }
    }
}
