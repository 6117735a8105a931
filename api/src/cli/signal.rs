//! Ctrl-C and SIGTERM: the first asks for a drained stop, the second ends the process at once.

use tokio::sync::watch;

/// Becomes true when the process shall stop.
pub type StopSignal = watch::Receiver<bool>;

/// Listens for signals from now on. Needs a running runtime.
pub fn listen() -> std::io::Result<StopSignal> {
    let (tx, rx) = watch::channel(false);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
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
