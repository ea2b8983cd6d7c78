//! A blocking netlink client: several requests in one datagram, one acknowledgement, errors in the kernel's own words.
//!
//! A netlink socket belongs to the network namespace that its thread was in when it was opened, and stays there when
//! the thread moves on (network_namespaces(7)).

use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};

/// Room for one datagram of replies. The kernel fills at most 32 KiB of a dump into one (`netlink_dump`).
const RECEIVE_BYTES: usize = 64 << 10;
/// A dump that a change interrupts is begun again this often.
const DUMP_TRIES: usize = 8;
/// Room for a large transaction; the default of 208 KiB holds about three thousand ports.
const SEND_BYTES: usize = 8 << 20;

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A netlink request that did not work.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel said no.
    #[error("the kernel refused{}", reason(.text))]
    Refused {
        /// Which request of the batch, from 0.
        index: usize,
        /// The kernel's explanation, where it gives one (`NLMSGERR_ATTR_MSG`).
        text: Option<String>,
        /// The error number.
        source: io::Error,
    },
    /// The kernel's answer was not understood.
    #[error("a reply of the kernel could not be read")]
    Reply(#[source] DecodeError),
    /// Something changed during every attempt to read a list.
    #[error("what was read kept changing")]
    Interrupted,
}

fn reason(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

impl WireError {
    /// The error number (errno(3)).
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Reply(_) | Self::Interrupted => None,
        }
    }

    /// The error number as an error kind.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => source.kind(),
            Self::Reply(_) => io::ErrorKind::InvalidData,
            Self::Interrupted => io::ErrorKind::Interrupted,
        }
    }
}

/// A connected netlink socket.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// One message of a reply.
struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'a [u8],
}

impl Wire {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> Result<Self, WireError> {
        let mut socket = Socket::new(protocol).map_err(WireError::Socket)?;
        socket.bind_auto().map_err(WireError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(WireError::Socket)?;
        socket.set_ext_ack(true).map_err(WireError::Socket)?;
        socket.set_cap_ack(true).map_err(WireError::Socket)?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BYTES), sequence: 0 })
    }

    /// Lets one transaction be as large as thousands of ports need. Without the privilege the default stays.
    pub(crate) fn widen(&self) {
        let _ = setsockopt(&self.socket, SndBufForce, &SEND_BYTES);
    }

    /// Sends `messages` in one datagram and returns when the kernel has acknowledged the one at `acknowledged`, which
    /// must be the last that can be. The first error of any message is the result.
    pub(crate) fn transact<M: NetlinkSerializable>(
        &mut self,
        mut messages: Vec<NetlinkMessage<M>>,
        acknowledged: usize,
    ) -> Result<(), WireError> {
        messages[acknowledged].header.flags |= NLM_F_ACK;
        let first = self.send(messages)?;
        let last = first.wrapping_add(acknowledged as u32);
        loop {
            self.receive()?;
            for frame in frames(&self.buffer) {
                let index = frame.sequence.wrapping_sub(first) as usize;
                if index > acknowledged.saturating_add(1) || frame.kind != NLMSG_ERROR {
                    continue;
                }
                verdict(&frame, index)?;
                if frame.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for one thing.
    pub(crate) fn query<M, R>(&mut self, message: NetlinkMessage<M>) -> Result<Vec<R>, WireError>
    where
        M: NetlinkSerializable,
        R: NetlinkDeserializable,
    {
        let mut message = message;
        message.header.flags |= NLM_F_ACK;
        let first = self.send(vec![message])?;
        self.collect(first).map(|(replies, _)| replies)
    }

    /// Asks for a list of everything.
    pub(crate) fn dump<M, R>(&mut self, message: NetlinkMessage<M>) -> Result<Vec<R>, WireError>
    where
        M: NetlinkSerializable + Clone,
        R: NetlinkDeserializable,
    {
        for _ in 0..DUMP_TRIES {
            let mut request = message.clone();
            request.header.flags |= NLM_F_DUMP;
            let first = self.send(vec![request])?;
            let (replies, interrupted) = self.collect(first)?;
            if !interrupted {
                return Ok(replies);
            }
        }
        Err(WireError::Interrupted)
    }

    fn collect<M: NetlinkDeserializable>(&mut self, sequence: u32) -> Result<(Vec<M>, bool), WireError> {
        let (mut replies, mut interrupted) = (Vec::new(), false);
        loop {
            self.receive()?;
            for frame in frames(&self.buffer) {
                if frame.sequence != sequence {
                    continue;
                }
                interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
                match frame.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        verdict(&frame, 0)?;
                        return Ok((replies, interrupted));
                    }
                    _ => {
                        let message = NetlinkMessage::<M>::deserialize(frame.bytes).map_err(WireError::Reply)?;
                        if let NetlinkPayload::InnerMessage(inner) = message.payload {
                            replies.push(inner);
                        }
                    }
                }
            }
        }
    }

    /// Numbers the messages and sends them; returns the number of the first.
    fn send<M: NetlinkSerializable>(&mut self, messages: Vec<NetlinkMessage<M>>) -> Result<u32, WireError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for mut message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.header.sequence_number = self.sequence;
            message.header.flags |= NLM_F_REQUEST;
            message.finalize();
            let (start, length) = (bytes.len(), message.buffer_len());
            // Messages begin on multiples of four (NLMSG_ALIGN, netlink(3)).
            bytes.resize(start + length.next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..start + length]);
        }
        self.socket.send(&bytes, 0).map_err(WireError::Socket)?;
        Ok(first)
    }

    fn receive(&mut self) -> Result<(), WireError> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WireError::Socket(error)),
            }
        }
    }
}

/// Splits a datagram into messages; stops at the first that is not whole.
fn frames(buffer: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let bytes = rest.get(..length).filter(|bytes| bytes.len() >= HEADER_BYTES)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Frame {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            bytes,
        })
    })
}

/// What an error message or the end of a dump says. Both begin with a negative error number, or zero.
fn verdict(frame: &Frame<'_>, index: usize) -> Result<(), WireError> {
    let payload = &frame.bytes[HEADER_BYTES..];
    let code = payload.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(code.saturating_neg());
    Err(WireError::Refused { index, text: explanation(frame), source })
}

/// The text of an extended acknowledgement. It follows the header of the request, or all of the request unless
/// `NLM_F_CAPPED` is set.
fn explanation(frame: &Frame<'_>) -> Option<String> {
    if frame.kind != NLMSG_ERROR || frame.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = frame.bytes.get(HEADER_BYTES + 4..)?;
    let length = u32::from_ne_bytes(request.get(..4)?.try_into().ok()?) as usize;
    let skip = if frame.flags & NLM_F_CAPPED == 0 { length.next_multiple_of(4) } else { HEADER_BYTES };
    let mut rest = request.get(skip..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]);
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn an_error_carries_the_words_of_the_kernel() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend(frame(16, 0, 3, &[]));
        payload.extend([9, 0, 1, 0]);
        payload.extend(b"busy\0");
        let bytes = frame(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 3, &payload);
        let frame = frames(&bytes).next().unwrap();
        let error = verdict(&frame, 4).unwrap_err();
        assert_eq!(error.errno(), Some(17));
        assert_eq!(error.to_string(), "the kernel refused (busy)");
    }

    #[test]
    fn a_truncated_datagram_ends_the_iteration() {
        let mut bytes = frame(NLMSG_DONE, 0, 1, &0i32.to_ne_bytes());
        bytes.extend([200, 0, 0, 0, 1]);
        assert_eq!(frames(&bytes).count(), 1);
        assert_eq!(frames(&[4, 0, 0, 0]).count(), 0);
    }
}
