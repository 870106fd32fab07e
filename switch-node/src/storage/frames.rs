//! A table as a stream of frames: each key and value behind their lengths, cut wherever a frame is full, because a single
//! row may be longer than a frame. Checksums are consensus' affair.

use bytes::Bytes;

use super::{StoreFault, StoreView, Stored, limits};

/// The frames of a view.
pub fn frames(view: &dyn StoreView) -> Frames {
    Frames { rows: view.rows(), buffer: Vec::with_capacity(limits::FRAME_BYTES_MAX) }
}

/// Iterates over frames of at most [`limits::FRAME_BYTES_MAX`].
pub struct Frames {
    rows: Box<dyn Iterator<Item = Result<(Stored, Stored), StoreFault>> + Send>,
    buffer: Vec<u8>,
}

impl Iterator for Frames {
    type Item = Result<Bytes, StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.buffer.len() < limits::FRAME_BYTES_MAX {
            match self.rows.next() {
                Some(Ok((key, value))) => put_row(&key, &value, &mut self.buffer),
                Some(Err(fault)) => return Some(Err(fault)),
                None if self.buffer.is_empty() => return None,
                None => return Some(Ok(std::mem::take(&mut self.buffer).into())),
            }
        }
        let mut rest = Vec::with_capacity(limits::FRAME_BYTES_MAX);
        rest.extend_from_slice(&self.buffer[limits::FRAME_BYTES_MAX..]);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.truncate(limits::FRAME_BYTES_MAX);
        Some(Ok(frame.into()))
    }
}

fn put_row(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).expect("the store holds no longer keys and values").to_le_bytes();
    out.extend_from_slice(&length(key));
    out.extend_from_slice(&length(value));
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Puts frames together again. Keys must ascend: that is what a snapshot's rows do, and what the engine relies on.
#[derive(Default)]
pub(super) struct FrameParser {
    partial: Vec<u8>,
    last_key: Option<Stored>,
}

impl FrameParser {
    /// The rows that this frame completes.
    pub(super) fn push(&mut self, frame: &[u8]) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        self.partial.extend_from_slice(frame);
        let mut rows = Vec::new();
        let mut rest = self.partial.as_slice();
        while let Some((key, value, after)) = take_row(rest)? {
            let key = Stored::from(key);
            if self.last_key.as_ref().is_some_and(|last| *last >= key) {
                return Err(StoreFault::Snapshot("its keys do not ascend"));
            }
            self.last_key = Some(key.clone());
            rows.push((key, Stored::from(value)));
            rest = after;
        }
        let taken = self.partial.len() - rest.len();
        self.partial.drain(..taken);
        Ok(rows)
    }

    /// Fails where a row is not complete.
    pub(super) fn finish(&self) -> Result<(), StoreFault> {
        if self.partial.is_empty() { Ok(()) } else { Err(StoreFault::Snapshot("it ends within a row")) }
    }
}

type Row<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn take_row(bytes: &[u8]) -> Result<Option<Row<'_>>, StoreFault> {
    let Some((key_length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let Some((value_length, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let (key_length, value_length) =
        (u32::from_le_bytes(*key_length) as usize, u32::from_le_bytes(*value_length) as usize);
    if key_length == 0 || key_length > limits::KEY_BYTES_MAX || value_length > limits::ROW_BYTES_MAX {
        return Err(StoreFault::Snapshot("a row has an impossible length"));
    }
    let Some((key, rest)) = rest.split_at_checked(key_length) else { return Ok(None) };
    Ok(rest.split_at_checked(value_length).map(|(value, rest)| (key, value, rest)))
}
