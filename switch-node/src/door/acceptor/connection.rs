//! One accepted connection: bytes, who sends them, and how long they may.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tonic::transport::server::Connected;

use super::{Door, DoorEvent, DoorObserver, Place, ServerStream, census::Seat};
use crate::door::peer::{PeerIdentity, Principal};

/// One connection whose other side is known. tonic puts its [`PeerIdentity`] into the extensions of every request.
pub struct Connection {
    stream: ServerStream,
    identity: PeerIdentity,
    /// First for the first byte, then for age and grace.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting_for_first_byte: bool,
    ends_at: Option<Instant>,
    observer: DoorObserver,
    _place: Place,
    _of_principal: Seat<Principal>,
}

impl Connection {
    pub(super) fn new(
        door: &Door,
        stream: ServerStream,
        identity: PeerIdentity,
        place: Place,
        of_principal: Seat<Principal>,
    ) -> Self {
        let ends_at = identity.retires_at().map(|retires_at| retires_at + door.grace);
        Self {
            stream,
            identity,
            timer: Some(Box::pin(tokio::time::sleep(door.caps.first_byte_timeout))),
            is_waiting_for_first_byte: true,
            ends_at,
            observer: Arc::clone(&door.observer),
            _place: place,
            _of_principal: of_principal,
        }
    }

    /// The other side.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// The first byte came: from now on only age ends the connection.
    fn begin(&mut self) {
        self.is_waiting_for_first_byte = false;
        self.timer = self.ends_at.map(|ends_at| Box::pin(tokio::time::sleep_until(ends_at)));
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.identity.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(Ok(())) if self.is_waiting_for_first_byte => self.begin(),
            Poll::Ready(_) => {}
            // A connection that is read all the time does not sleep long enough to be asked; its age is asked when it does.
            Poll::Pending => {
                if let Some(timer) = &mut self.timer
                    && timer.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection's time is over")));
                }
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        (self.observer)(self.identity.role(), &DoorEvent::Closed(&self.identity));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("identity", &self.identity).finish_non_exhaustive()
    }
}
