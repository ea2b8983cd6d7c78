//! How often something is asked again, and when.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::ImageError;

/// Pauses between the tries of a request; each is stretched by up to a half, so that many who failed together do not
/// come back together.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(4000)];
/// Pauses while nothing answers at all: whoever waits wants to know that soon.
const PAUSES_UNREACHABLE: usize = 1;
/// Longest pause that a server may ask for; who asks for more is told to the user instead.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Counts tries and waits between them.
#[derive(Default)]
pub(crate) struct Tries {
    count: usize,
}

impl Tries {
    /// Waits before the next try, or gives the error back when there is none.
    pub(crate) async fn pause_after(&mut self, error: ImageError) -> Result<(), ImageError> {
        let (most, asked) = match &error {
            ImageError::Unreachable { .. } => (PAUSES_UNREACHABLE, None),
            ImageError::TooManyRequests { after, .. } => (PAUSES.len(), *after),
            ImageError::Registry { source, .. } if source.0.is_passing() => (PAUSES.len(), source.0.after()),
            _ => (0, None),
        };
        let pause = PAUSES.get(self.count).filter(|_| self.count < most);
        match (pause, asked) {
            (Some(_), Some(asked)) if asked > PAUSE_MAX => return Err(error),
            (Some(_), Some(asked)) => tokio::time::sleep(asked).await,
            (Some(pause), None) => tokio::time::sleep(stretched(*pause)).await,
            (None, _) => return Err(error),
        }
        self.count += 1;
        Ok(())
    }

    /// Something came: trouble after this is new trouble.
    pub(crate) fn reset(&mut self) {
        self.count = 0;
    }
}

fn stretched(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness it is the plain pause.
    let _ = rustix::rand::getrandom(byte.as_mut_slice(), rustix::rand::GetRandomFlags::NONBLOCK);
    pause + pause * u32::from(byte[0]) / 512
}

/// `Retry-After`, in seconds or as a date (RFC 9110 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_when_to_come_back_in_two_ways() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let seconds = |text| retry_after(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Fri, 02 Jan 2026 03:04:35 GMT"), Some(30));
        assert_eq!(seconds("Fri, 02 Jan 2026 03:00:00 GMT"), Some(0), "the past is now");
        assert_eq!((seconds("soon"), seconds("-1"), seconds("")), (None, None, None));
    }

    #[test]
    fn pauses_grow_by_up_to_a_half() {
        for _ in 0..100 {
            let pause = stretched(PAUSES[1]);
            assert!((PAUSES[1]..PAUSES[1] * 3 / 2).contains(&pause), "{pause:?}");
        }
    }
}
