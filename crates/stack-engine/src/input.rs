//! What messages do to the engine.

use std::collections::BTreeSet;
use std::rc::Rc;

use stack_model::{Desired, Diagnostic, Event, Failure, Fault, PolicyChange, Reply, ServiceName, UpOptions};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::journal::Survives;
use crate::{Clock, Host, Message, Policy};

impl<H: Host, C: Clock> Engine<H, C> {
    pub(crate) async fn receive(&mut self, message: Message) {
        match message {
            Message::Input { desired, options: None, reply, .. } if self.is_known(&desired) => {
                if let Some(reply) = reply {
                    let (generation, sequence) = (self.journal.generation, self.bus.last());
                    answer(reply, Reply::Accepted { generation, sequence });
                }
            }
            Message::Input { desired, reason, warnings, options, reply } => {
                self.rejected = false;
                let mut policy = self.journal.policy.clone();
                let taken = self.bend(&mut policy, &desired, options.as_ref()).await;
                let taken = taken.map(|()| {
                    self.journal.base = Some(Rc::new(desired));
                    (policy, reason, warnings)
                });
                self.accept(taken, reply);
            }
            Message::Rejected { reason, diagnostics } => {
                self.rejected = true;
                self.publish(Event::Rejected { reason, diagnostics });
            }
            Message::Change(change, reply) => {
                let mut policy = self.journal.policy.clone();
                if let (None, PolicyChange::Down { volumes: true, .. }) = (&self.journal.base, &change) {
                    let text = "volumes are kept: without a journal it is not known which the project has".to_owned();
                    self.publish(Event::Warning { text });
                }
                let taken = match (&self.journal.base, &change) {
                    (Some(_), _) | (None, PolicyChange::Down { .. }) => {
                        policy.change(&change, &self.base(), self.clock.now())
                    }
                    (None, _) => {
                        Err(Failure::new(Fault::Missing, "the project is not up").hint("run `stack up` first"))
                    }
                };
                self.accept(taken.map(|()| (policy, words(&change), Vec::new())), Some(reply));
            }
            Message::Status(reply) => {
                let desired = self.desired.clone().unwrap_or_else(|| self.base());
                let observed = self.look(&desired, false).await;
                answer(reply, Reply::Status(Box::new(observed)));
            }
            Message::Plan { desired, options, reply } => {
                let said = self.foretell(&desired, options.as_ref()).await;
                answer(reply, said);
            }
            Message::Quit => self.quit(),
        }
    }

    /// A save that says nothing new. After one that was rejected, that it is well again is news.
    fn is_known(&self, desired: &Desired) -> bool {
        !self.rejected && self.journal.base.as_deref() == Some(desired)
    }

    /// Bends `policy` to an input.
    async fn bend(
        &mut self,
        policy: &mut Policy,
        desired: &Desired,
        options: Option<&UpOptions>,
    ) -> Result<(), Failure> {
        let partial = options.is_none_or(|options| !options.services.is_empty() || options.errand.is_some());
        if self.journal.base.is_none() && partial {
            // Nothing is known of what was asked for; what is there was.
            let observed = self.look(desired, true).await;
            let services: BTreeSet<&ServiceName> =
                observed.containers.values().map(|it| &it.container.service).collect();
            policy.adopt(services.into_iter());
        }
        match options {
            Some(options) => policy.up(options, desired, self.clock.now()),
            None => {
                policy.reload();
                Ok(())
            }
        }
    }

    /// What `up` would do, or what is left to do.
    async fn foretell(&mut self, desired: &Desired, options: Option<&UpOptions>) -> Reply {
        let mut policy = self.journal.policy.clone();
        if options.is_some()
            && let Err(failure) = self.bend(&mut policy, desired, options).await
        {
            return Reply::Refused(failure);
        }
        let desired = policy.apply(desired, self.journal.generation + 1);
        let observed = self.look(&desired, false).await;
        Reply::Plan(stack_plan::plan(&desired, &observed, &self.journal.history, self.clock.now()))
    }

    /// Makes a policy the one that counts, as a new generation. The answer is sent when it is written down.
    fn accept(
        &mut self,
        taken: Result<(Policy, String, Vec<Diagnostic>), Failure>,
        reply: Option<oneshot::Sender<Reply>>,
    ) {
        let (policy, reason, warnings) = match taken {
            Ok(taken) => taken,
            Err(failure) => {
                if let Some(reply) = reply {
                    answer(reply, Reply::Refused(failure));
                }
                return;
            }
        };
        self.journal.policy = policy;
        self.journal.generation += 1;
        self.journal.touch(Survives::PowerLoss);
        let generation = self.journal.generation;
        self.want_now();
        let sequence = self.bus.last();
        self.publish(Event::Accepted { generation, reason, warnings });
        if let Some(reply) = reply {
            self.replies.push((reply, Reply::Accepted { generation, sequence }));
        }
    }
}

/// Whoever asked may have gone away.
pub(crate) fn answer(reply: oneshot::Sender<Reply>, said: Reply) {
    drop(reply.send(said));
}

fn words(change: &PolicyChange) -> String {
    let (verb, services): (_, &[ServiceName]) = match change {
        PolicyChange::Down { volumes: false, .. } => ("down", &[]),
        PolicyChange::Down { volumes: true, .. } => ("down with volumes", &[]),
        PolicyChange::Stop { services, .. } => ("stop", services),
        PolicyChange::Start { services } => ("start", services),
        PolicyChange::Pause { services } => ("pause", services),
        PolicyChange::Unpause { services } => ("unpause", services),
        PolicyChange::Release { services } => ("let end", services),
        PolicyChange::Remove { services } => ("rm", services),
        PolicyChange::Restart { services, .. } => ("restart", services),
    };
    services.iter().fold(verb.to_owned(), |text, name| text + " " + name.as_str())
}
