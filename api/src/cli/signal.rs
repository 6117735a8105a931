//! Ctrl-C and SIGTERM: the first asks for a drained stop, the second ends the process at once.

use tokio::sync::watch;

/// Becomes true when the process shall stop.
pub type StopSignal = watch::Receiver<bool>;

/// Listens for signals from now on. Needs a running runtime.
pub fn listen() -> std::io::Result<StopSignal> {
    let (tx, rx) = watch::channel(false);
    // Both here and not in the task: a signal that comes before its first turn must not kill.
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        // A file that may not grow any more (`ulimit -f`) is an error of that write, and kills nothing.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            if *tx.borrow() {
                eprintln!("bookwire: stopped before everything was drained");
                std::process::exit(1);
            }
            let _ = tx.send(true);
        }
    });
    Ok(rx)
}

/// Returns when the process shall stop.
pub async fn stopped(mut signal: StopSignal) {
    // A closed channel means that nothing will ever ask: the listener runs as long as the runtime.
    let _ = signal.wait_for(|stop| *stop).await;
}
