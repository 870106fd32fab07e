//! Answers that are read from the table for as long as a caller takes them: an act of an operator's like any other, whose end is
//! the stream's.

use std::{future::Future, time::Duration};

use switch_domain::audit::Act;
use tokio::{runtime::Handle, sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    Operators,
    audit::{Asked, Caller},
    refusals, within,
};
use crate::door::refusal::refused;

/// Hands parts to a caller from a thread that reads them. Waits for the caller, though not for ever.
pub(super) struct Outlet<Part> {
    parts: mpsc::Sender<Result<Part, Status>>,
    runtime: Handle,
    taken_within: Duration,
}

impl<Part> Outlet<Part> {
    /// Hands over one part.
    ///
    /// # Errors
    /// What the trail says where the caller is gone, or takes nothing any more: whoever reads should end.
    pub(super) fn hand(&self, part: Part) -> Result<(), Status> {
        match self.runtime.block_on(tokio::time::timeout(self.taken_within, self.parts.send(Ok(part)))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(refused(Code::Cancelled, "CALLER_GONE", "the caller went away before the end").status()),
            Err(_) => {
                let words = format!("the caller took nothing for {:?}", self.taken_within);
                Err(refused(Code::DeadlineExceeded, "CALLER_TOO_SLOW", words).status())
            }
        }
    }
}

impl Operators {
    /// Does an act whose answer is a stream between its two records: `prepare` is what may be refused, and `send` reads what the
    /// caller gets. The second record says how the stream ended, and is written before the caller sees that end.
    pub(super) async fn audited_stream<Source: Send + 'static, Part: Send + 'static>(
        &self,
        caller: Caller,
        act: Act,
        until: Instant,
        prepare: impl Future<Output = Result<Source, Status>> + Send + 'static,
        send: impl FnOnce(Source, &Outlet<Part>) -> Result<(), Status> + Send + 'static,
    ) -> Result<ReceiverStream<Result<Part, Status>>, Status> {
        let operators = self.clone();
        let begun = self.shared.tasks.spawn(async move {
            let asked = operators.begin(Asked::of(caller, act, None), until).await?;
            let source = match within(until, prepare).await {
                Ok(source) => source,
                Err(status) => {
                    operators.end(asked, Err(&status)).await;
                    return Err(status);
                }
            };
            let (outlet, end, stream) = open(TAKEN_WITHIN);
            operators.shared.tasks.clone().spawn(async move {
                // Reading is work for a thread.
                let sent = tokio::task::spawn_blocking(move || send(source, &outlet)).await;
                let sent = sent.unwrap_or_else(|_| Err(refusals::late()));
                operators.end(asked, sent.as_ref().map(|()| None)).await;
                if let Err(status) = sent {
                    end.send(Err(status));
                }
            });
            Ok(stream)
        });
        begun.await.unwrap_or_else(|_| Err(refusals::late()))
    }
}

type End<Part> = mpsc::OwnedPermit<Result<Part, Status>>;

/// An outlet, the place that is kept for how it ended badly, and what the caller reads. Without that place a caller that is too slow
/// would take what it has for everything.
fn open<Part>(taken_within: Duration) -> (Outlet<Part>, End<Part>, ReceiverStream<Result<Part, Status>>) {
    let (parts, stream) = mpsc::channel(PARTS_AHEAD + 1);
    let end = parts.clone().try_reserve_owned();
    let end = end.unwrap_or_else(|_| unreachable!("nothing was sent yet, and the receiver is here"));
    (Outlet { parts, runtime: Handle::current(), taken_within }, end, ReceiverStream::new(stream))
}

/// Parts of about 1 MiB read ahead of a slow caller.
const PARTS_AHEAD: usize = 2;
/// A caller that takes nothing for so long keeps a thread, and old rows on the disk, for nothing.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tonic_types::StatusExt as _;

    use super::*;

    fn reason(status: &Status) -> String {
        status.get_details_error_info().expect("a reason").reason
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_is_told_that_it_was_cut_off_behind_what_it_has() {
        let (outlet, end, mut stream) = open(Duration::from_millis(20));
        let handed = tokio::task::spawn_blocking(move || (0..).try_for_each(|part| outlet.hand(part)));
        let status = handed.await.expect("no panic").expect_err("nobody takes them");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "CALLER_TOO_SLOW"));
        end.send(Err(status));
        for part in 0..PARTS_AHEAD {
            assert_eq!(stream.next().await.expect("a part").expect("was handed"), part);
        }
        assert_eq!(reason(&stream.next().await.expect("an end").expect_err("cut off")), "CALLER_TOO_SLOW");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn whoever_reads_hears_that_the_caller_went_away() {
        let (outlet, _end, stream) = open(TAKEN_WITHIN);
        drop(stream);
        let handed = tokio::task::spawn_blocking(move || outlet.hand(())).await.expect("no panic");
        assert_eq!(reason(&handed.expect_err("nobody is there")), "CALLER_GONE");
    }
}
