//! The loop and its one owner.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::FutureExt;
use stack_model::{Blocked, Desired, Event, Failure, Fault, Key, Millis, Now, Observed, Reply};
use tokio::sync::{mpsc, oneshot};

use crate::flight::{Flight, Landed};
use crate::journal::Journal;
use crate::schedule::Schedule;
use crate::{Clock, Ended, EventBus, Host, Message, Wake};

/// Everything is looked at again after this time, whatever the wake-ups say.
pub(crate) const RESYNC: Millis = Millis(30_000);
/// A plan is not made more often while steps are under way and nothing else could begin.
const PAUSE: Millis = Millis(5);
/// The same while more could begin than there is room for: a new plan would only keep the machine from working.
const PAUSE_BUSY: Millis = Millis(50);
/// The journal is written at most this often, unless what the user asked for changes.
pub(crate) const SAVE_PAUSE: Millis = Millis(1_000);
/// Steps under way have this long to end when the engine is told to.
const QUIT_PATIENCE: Millis = Millis(2_000);
/// Whoever started this engine has this long to say what for, before it goes on with what was wanted last: a `down` must
/// not first start what had ended.
const GREETING: Millis = Millis(100);
/// Wake-ups and messages that are taken at once.
const TAKEN_AT_ONCE_MAX: usize = 256;

/// How urgent the next look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// Nothing has changed.
    Nothing,
    /// When the steps under way leave time for it.
    Soon,
    /// At once.
    Now,
}

/// What the last plan said, beside its steps.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) observed: Rc<Observed>,
    pub(crate) blocked: Vec<Blocked>,
    /// It had neither steps nor blocked lines.
    pub(crate) converged: bool,
    /// When it was made.
    pub(crate) at: Now,
    /// When everything was last looked at.
    pub(crate) fresh_at: Now,
    /// Steps have ended since.
    pub(crate) outdated: bool,
}

/// What has been said already.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The generation that was said to be converged, and still is.
    pub(crate) converged: Option<u64>,
    /// Lines of the last plan.
    pub(crate) lines: BTreeSet<String>,
    /// Warnings of the last plan.
    pub(crate) warnings: BTreeSet<String>,
    /// The journal cannot be written.
    pub(crate) journal: bool,
}

/// Keeps a project as it is wanted. See the crate's documentation.
#[derive(Debug)]
pub struct Engine<H: Host, C: Clock> {
    pub(crate) host: H,
    pub(crate) clock: C,
    pub(crate) journal: Journal,
    pub(crate) bus: EventBus,
    pub(crate) desired: Option<Rc<Desired>>,
    pub(crate) flight: Flight,
    pub(crate) schedule: Schedule,
    /// Steps that ended during a look.
    pub(crate) landed: Vec<Landed>,
    pub(crate) want: Want,
    /// The next look is at everything.
    pub(crate) fresh: bool,
    pub(crate) outlook: Outlook,
    pub(crate) told: Told,
    /// The last input could not be read.
    pub(crate) rejected: bool,
    /// Answers that wait until what they promise is written down.
    pub(crate) replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    /// Since when, and how often, a kind of step has worked for a key.
    pub(crate) repeats: BTreeMap<(Key, &'static str), (Now, u32)>,
    /// It was told to end; until when steps may still do so.
    pub(crate) quitting: Option<Now>,
    /// When it was said that everything is there; until the host has rested after that.
    pub(crate) tired: Option<Now>,
}

enum Woken {
    Landed(Landed),
    Wake(Wake),
    Message(Option<Message>),
    Time,
}

impl<H: Host, C: Clock> Engine<H, C> {
    /// An engine that goes on where `journal` ends.
    pub fn new(host: H, clock: C, journal: Journal, bus: EventBus) -> Self {
        Self {
            host,
            clock,
            journal,
            bus,
            desired: None,
            flight: Flight::default(),
            schedule: Schedule::default(),
            landed: Vec::new(),
            want: Want::Nothing,
            fresh: true,
            outlook: Outlook::default(),
            told: Told::default(),
            rejected: false,
            replies: Vec::new(),
            repeats: BTreeMap::new(),
            quitting: None,
            tired: None,
        }
    }

    /// Runs until the project is down, or until it is told to quit or nobody is left who could tell. The bus is closed
    /// then. Dropping the future is a crash: what was under way is half-done, and the next engine finds it so.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Ended {
        self.resume();
        self.listen(&mut messages).await;
        loop {
            if self.is_due() {
                self.turn().await;
            }
            if self.is_down() {
                // Who asks just now is answered: a second `down` with the end, and an `up` by not ending.
                self.take_messages(&mut messages).await;
                if self.is_down() {
                    return self.farewell();
                }
                continue;
            }
            if self.quitting.is_some_and(|patience| self.flight.is_empty() || self.clock.now() >= patience) {
                self.save();
                self.bus.close();
                return Ended::Quit;
            }
            self.begin();
            self.save_in_time();
            self.rest_in_time();
            let woken = self.next(&mut messages).await;
            self.take(woken).await;
            self.take_rest(&mut messages).await;
        }
    }

    /// What is left to do after the last step is saying so and writing it down; then the host may rest.
    fn rest_in_time(&mut self) {
        let now = self.clock.now();
        if self.flight.is_empty() && self.tired.take_if(|since| now >= since.plus(SAVE_PAUSE)).is_some() {
            self.host.rest();
        }
    }

    fn resume(&mut self) {
        if let Some(error) = self.journal.lost.take() {
            let failure = Failure::from_error(Fault::Missing, &error);
            self.publish(Event::Warning { text: format!("{failure}; beginning a new one") });
        }
        if self.journal.base.is_some() || self.journal.policy.down.is_some() {
            self.want_now();
        }
    }

    /// Waits a moment for the first message, where there is something to go on with.
    async fn listen(&mut self, messages: &mut mpsc::Receiver<Message>) {
        if self.desired.is_none() {
            return;
        }
        let patience = self.clock.now().plus(GREETING);
        tokio::select! {
            biased;
            message = messages.recv() => self.take(Woken::Message(message)).await,
            () = self.clock.sleep_until(patience) => {}
        }
    }

    /// Takes what was written down for what is wanted, and looks at once.
    pub(crate) fn want_now(&mut self) {
        let base = self.base();
        self.desired = Some(Rc::new(self.journal.policy.apply(&base, self.journal.generation)));
        self.want = Want::Now;
    }

    /// What the file says; an empty project when that is not known.
    pub(crate) fn base(&self) -> Rc<Desired> {
        self.journal.base.clone().unwrap_or_else(|| {
            Rc::new(Desired {
                project: self.journal.project().clone(),
                instance: self.journal.instance().to_owned(),
                generation: 0,
                networks: BTreeMap::new(),
                volumes: BTreeMap::new(),
                services: BTreeMap::new(),
                discard_volumes: Vec::new(),
                stop_grace: None,
            })
        })
    }

    pub(crate) fn publish(&self, event: Event) -> u64 {
        self.bus.publish(self.clock.now(), event)
    }

    fn is_due(&mut self) -> bool {
        if self.desired.is_none() {
            return false;
        }
        let now = self.clock.now();
        let idle = self.flight.is_empty() && !self.schedule.has_ready();
        // A clock that was set back would otherwise put the next look off for as long.
        if now.since(self.outlook.fresh_at) >= RESYNC || now < self.outlook.fresh_at {
            (self.want, self.fresh) = (Want::Now, true);
        }
        if self.next_time().is_some_and(|at| at <= now) {
            self.want = Want::Now;
        }
        // Only a new look tells what the steps have made possible.
        if self.outlook.outdated && (idle || !self.schedule.has_ready() && !self.outlook.blocked.is_empty()) {
            self.want = self.want.max(Want::Soon);
        }
        match self.want {
            Want::Nothing => false,
            Want::Soon => idle || now >= self.outlook.at.plus(self.pause()),
            Want::Now => true,
        }
    }

    fn pause(&self) -> Millis {
        if self.schedule.has_ready() { PAUSE_BUSY } else { PAUSE }
    }

    /// The nearest time that the plan waits for. A time that had passed when it was made holds something else back.
    fn next_time(&self) -> Option<Now> {
        let times = self.outlook.blocked.iter().filter_map(|blocked| blocked.until.time());
        times.filter(|at| *at > self.outlook.at).min()
    }

    /// When to go on if nothing happens.
    fn deadline(&self) -> Now {
        let now = self.clock.now();
        let look = (self.want == Want::Soon).then(|| self.outlook.at.plus(self.pause()));
        let save = self.journal.unsaved().map(|(_, saved)| saved.plus(SAVE_PAUSE));
        let resync = self.desired.is_some().then(|| self.outlook.fresh_at.plus(RESYNC));
        let rest = self.tired.filter(|_| self.flight.is_empty()).map(|since| since.plus(SAVE_PAUSE));
        let times = [look, save, resync, rest, self.next_time(), self.quitting];
        times.into_iter().flatten().fold(now.plus(RESYNC), Now::min)
    }

    async fn next(&mut self, messages: &mut mpsc::Receiver<Message>) -> Woken {
        let deadline = self.deadline();
        let quitting = self.quitting.is_some();
        let Self { host, clock, flight, .. } = self;
        // Without anything to keep there is nothing to be woken for, and an engine that idles does not tick.
        let idle = self.desired.is_none() && self.journal.unsaved().is_none() && !quitting;
        tokio::select! {
            biased;
            message = messages.recv(), if !quitting => Woken::Message(message),
            landed = flight.land() => Woken::Landed(landed),
            wake = host.wait() => Woken::Wake(wake),
            () = clock.sleep_until(deadline), if !idle => Woken::Time,
        }
    }

    async fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Landed(landed) => self.finish(landed),
            Woken::Wake(wake) => self.wake(wake),
            Woken::Message(Some(message)) => self.receive(message).await,
            Woken::Message(None) => self.quit(),
            Woken::Time => {}
        }
    }

    /// Takes what has come meanwhile, so that a burst is one reason to look.
    async fn take_rest(&mut self, messages: &mut mpsc::Receiver<Message>) {
        let landed = std::mem::take(&mut self.landed);
        landed.into_iter().for_each(|landed| self.finish(landed));
        while let Some(landed) = self.flight.land().now_or_never() {
            self.finish(landed);
        }
        for _ in 0..TAKEN_AT_ONCE_MAX {
            let Some(wake) = self.host.wait().now_or_never() else { break };
            self.wake(wake);
        }
        self.take_messages(messages).await;
    }

    async fn take_messages(&mut self, messages: &mut mpsc::Receiver<Message>) {
        for _ in 0..TAKEN_AT_ONCE_MAX {
            let Ok(message) = messages.try_recv() else { break };
            self.receive(message).await;
        }
    }

    fn wake(&mut self, wake: Wake) {
        let soon = match wake {
            Wake::Dirty => true,
            Wake::Resync => {
                self.fresh = true;
                true
            }
            Wake::Tell(event) => {
                let changes = matches!(event, Event::Exited { .. } | Event::Health { .. });
                self.publish(event);
                changes
            }
        };
        if soon {
            self.want = self.want.max(Want::Soon);
        }
    }

    pub(crate) fn quit(&mut self) {
        let patience = self.clock.now().plus(QUIT_PATIENCE);
        self.quitting.get_or_insert(patience);
    }
}
