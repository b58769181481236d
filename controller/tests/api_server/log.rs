//! What is logged while a test runs, all of it in one thread.

use std::{
    cell::RefCell,
    io,
    marker::PhantomData,
    sync::{Arc, Mutex, Once},
};

thread_local! {
    /// Where the messages of this thread go.
    static TEXT: RefCell<Option<Arc<Mutex<Vec<u8>>>>> = const { RefCell::new(None) };
}

/// Takes the log messages of this thread until it is dropped.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    /// It stays in its thread.
    _thread: PhantomData<*const ()>,
}

struct Into;

impl io::Write for Into {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.with_borrow(|text| {
            if let Some(text) = text {
                text.lock().unwrap().extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn begin() -> Self {
        // One subscriber for all threads: with one for each, a message that is first met by two threads at the same time
        // may be taken for one that nobody wants.
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(|| Into)
                .with_ansi(false)
                .without_time()
                .with_env_filter("info,kube=off")
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let text = Arc::default();
        TEXT.set(Some(Arc::clone(&text)));
        Self { text, _thread: PhantomData }
    }

    /// The messages that hold all of these texts.
    pub fn lines(&self, texts: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let holds = |line: &&str| texts.iter().all(|text| line.contains(text));
        text.lines().filter(holds).map(str::to_owned).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        TEXT.set(None);
    }
}
