//! Waiting for another server: on a thread of its own where somebody may tell us to stop, so that a silent server holds nobody.

use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use reqwest::blocking::Response;

use haversack_model::{Error, Result};

use super::remote::Client;

/// How often it is looked whether to stop.
pub(super) const GLANCE: Duration = Duration::from_millis(50);
/// Bytes that are read of an answer at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for who takes them.
const PIECES: usize = 4;

impl Client {
    /// Does what waits for the server. Where this client may be told to stop, it is done aside, and left to itself then.
    ///
    /// # Errors
    /// [`Error::Network`] if it must stop; what it does.
    pub(super) fn waiting<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.can_be_stopped() {
            return work();
        }
        let (send, receive) = sync_channel(1);
        std::thread::spawn(move || {
            // Nobody waits for it any more, if it cannot be sent.
            let _gone = send.send(work());
        });
        let begun = Instant::now();
        loop {
            match receive.recv_timeout(GLANCE) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => self.check_silence(begun)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(network("the request ended", std::io::ErrorKind::Other));
                }
            }
        }
    }

    /// Whether to wait no longer for a server that was heard last then.
    ///
    /// # Errors
    /// [`Error::Network`] if it must stop, or has waited long enough.
    pub(super) fn check_silence(&self, heard: Instant) -> Result<()> {
        self.check_stop()
            .map_err(|stopped| Error::Network(Box::new(stopped)))?;
        if heard.elapsed() >= self.patience() {
            return Err(network("no answer in time", std::io::ErrorKind::TimedOut));
        }
        Ok(())
    }
}

fn network(why: &'static str, kind: std::io::ErrorKind) -> Error {
    Error::Network(Box::new(std::io::Error::new(kind, why)))
}

/// Reads an answer piece by piece, on a thread of its own.
pub(super) fn pieces(
    begin: impl FnOnce() -> Result<Response> + Send + 'static,
) -> Receiver<Result<Vec<u8>>> {
    let (send, receive) = sync_channel(PIECES);
    std::thread::spawn(move || {
        if let Err(error) = begin().and_then(|response| read(response, &send)) {
            // Nobody waits for it any more, if it cannot be sent.
            let _gone = send.send(Err(error));
        }
    });
    receive
}

fn read(mut response: Response, send: &SyncSender<Result<Vec<u8>>>) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = response
            .read(&mut piece)
            .map_err(|error| Error::Network(Box::new(error)))?;
        if read == 0 || send.send(Ok(piece[..read].to_vec())).is_err() {
            return Ok(());
        }
    }
}
