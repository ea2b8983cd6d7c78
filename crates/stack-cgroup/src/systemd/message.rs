//! As much of the D-Bus wire format as three calls need (D-Bus specification, "Message Format"): little endian, values
//! aligned to their size from the start of the message.

/// Type of a message: a call.
pub(super) const CALL: u8 = 1;
/// Type of a message: the answer to a call.
pub(super) const RETURN: u8 = 2;
/// Type of a message: the refusal of a call.
pub(super) const ERROR: u8 = 3;
/// Type of a message: a signal.
pub(super) const SIGNAL: u8 = 4;
/// Length of the part of the header that has a fixed size.
pub(super) const FIXED: usize = 16;

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, size: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(size), 0);
    }

    /// `u`, and `b` as 0 or 1.
    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    /// `s` and `o`.
    pub(super) fn text(&mut self, value: &str) {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, value: &str) {
        self.bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    /// `a…`, with elements aligned to `alignment`; its length does not count the padding before the first.
    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let length = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let size = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length..length + 4].copy_from_slice(&size.to_le_bytes());
    }

    /// `(sv)`.
    pub(super) fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.text(name);
        self.signature(signature);
        value(self);
    }

    fn field(&mut self, code: u8, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.bytes.push(code);
        self.signature(signature);
        value(self);
    }
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A whole call.
pub(super) fn call(serial: u32, target: Target<'_>, signature: &str, body: Writer) -> Vec<u8> {
    let mut head = Writer { bytes: vec![b'l', CALL, 0, 1] };
    head.number(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    head.number(serial);
    head.array(8, |fields| {
        fields.field(1, "o", |value| value.text(target.path));
        fields.field(2, "s", |value| value.text(target.interface));
        fields.field(3, "s", |value| value.text(target.member));
        fields.field(6, "s", |value| value.text(target.destination));
        if !signature.is_empty() {
            fields.field(8, "g", |value| value.signature(signature));
        }
    });
    head.align(8);
    head.bytes.extend(body.bytes);
    head.bytes
}

/// A message that came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// The call it answers.
    pub(super) answers: u32,
    /// Name of the error.
    pub(super) error: String,
    /// Name of the signal.
    pub(super) member: String,
    pub(super) body: Vec<u8>,
}

/// How long a message is, from its first [`FIXED`] bytes; `None` when it is not one we can read.
pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(fixed.get(at..at + 4)?.try_into().ok()?) as usize);
    (fixed[0] == b'l').then_some(())?;
    Some((FIXED + number(12)?).next_multiple_of(8) + number(4)?)
}

/// Takes a whole message apart; `None` when it breaks the format.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
    let mut reader = Reader { bytes, at: 4 };
    let body_length = reader.number()? as usize;
    reader.number()?;
    let fields_end = reader.number()? as usize + FIXED;
    while reader.at < fields_end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (3, "s") => message.member = reader.text()?,
            (4, "s") => message.error = reader.text()?,
            (5, "u") => message.answers = reader.number()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.number()?),
            _ => return None,
        }
    }
    reader.align(8);
    message.body = bytes.get(reader.at..reader.at + body_length)?.to_vec();
    Some(message)
}

/// The first value of a body, when it is a text.
pub(super) fn first_text(body: &[u8]) -> Option<String> {
    Reader { bytes: body, at: 0 }.text()
}

/// Job and result of a `JobRemoved` signal: `uoss` is number, job, unit, result.
pub(super) fn job_removed(body: &[u8]) -> Option<(String, String)> {
    let mut reader = Reader { bytes: body, at: 0 };
    reader.number()?;
    let job = reader.text()?;
    reader.text()?;
    Some((job, reader.text()?))
}

/// A message of the other side, for tests of the connection: `name` is the error's, or the signal's.
#[cfg(test)]
pub(super) fn incoming(kind: u8, answers: u32, name: &str, body: Writer) -> Vec<u8> {
    let mut head = Writer { bytes: vec![b'l', kind, 0, 1] };
    head.number(u32::try_from(body.bytes.len()).unwrap());
    head.number(77);
    head.array(8, |fields| {
        fields.field(if kind == ERROR { 4 } else { 3 }, "s", |value| value.text(name));
        fields.field(5, "u", |value| value.number(answers));
    });
    head.align(8);
    head.bytes.extend(body.bytes);
    head.bytes
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let start = self.at;
        self.at = start.checked_add(count)?;
        self.bytes.get(start..self.at)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.byte().map(|_| text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.byte().map(|_| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> =
        Target { destination: "org.example", path: "/org/example", interface: "org.example.Face", member: "Do" };

    #[test]
    fn a_call_is_read_back() {
        let mut body = Writer::default();
        body.text("unit");
        body.array(8, |list| list.property("PIDs", "au", |value| value.array(4, |pids| pids.number(7))));
        let bytes = call(3, TARGET, "sa(sv)", body);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(&fixed), Some(bytes.len()));
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (CALL, "Do"));
        assert_eq!(first_text(&message.body).unwrap(), "unit");
        // Text 4 + 5, padding, array length, padding to 8, "PIDs", signature, array of one number.
        assert_eq!(message.body.len(), 40);
    }

    #[test]
    fn a_signal_of_a_job_is_read() {
        let mut body = Writer::default();
        body.number(4);
        ["/job/4", "a.scope", "done"].iter().for_each(|text| body.text(text));
        assert_eq!(job_removed(&body.bytes), Some(("/job/4".to_owned(), "done".to_owned())));
    }

    #[test]
    fn broken_messages_are_refused() {
        let bytes = call(3, TARGET, "", Writer::default());
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), None, "{end}");
        }
        assert_eq!(length(b"B123456789abcdef"), None);
    }
}
