//! What is logged while a test runs, all of it in one thread.

use std::{
    io,
    sync::{Arc, Mutex},
};

/// Takes the log messages of this thread until it is dropped.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

struct Into(Arc<Mutex<Vec<u8>>>);

impl io::Write for Into {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn begin() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Into(Arc::clone(&into)))
            .with_ansi(false)
            .without_time()
            .with_env_filter("info,kube=off")
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The messages that hold all of these texts.
    pub fn lines(&self, texts: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let holds = |line: &&str| texts.iter().all(|text| line.contains(text));
        text.lines().filter(holds).map(str::to_owned).collect()
    }
}
