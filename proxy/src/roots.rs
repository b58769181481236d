//! The certificate authorities that pingora reads when a worker is made: it panics on what it cannot read, and an
//! image without any (`FROM scratch`) could not even encrypt without verifying.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use pingora_core::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use tracing::warn;

/// A certificate whose key nobody has: a store that holds it alone is not empty, and trusts nobody.
const NO_AUTHORITY: &[u8] = include_bytes!("no_authority.pem");

/// The file that pingora is told to read; `None` for the system's own.
#[derive(Debug)]
pub(crate) struct Roots {
    stand_in: Option<PathBuf>,
}

impl Roots {
    /// Finds out whether the system has authorities that can be read, and writes a file that stands in for them
    /// where it has none; it is removed when this is dropped.
    ///
    /// # Errors
    /// Where it has none and no folder can be written to.
    pub(crate) fn find() -> io::Result<Self> {
        let mut system = RootCertStore::empty();
        match load_platform_certs_incl_env_into_store(&mut system) {
            Ok(()) if !system.is_empty() => return Ok(Self { stand_in: None }),
            Ok(()) => {
                warn!("this system has no certificate authorities; no backend's certificate can be verified")
            }
            Err(error) => {
                warn!(%error, "the system's certificate authorities cannot be read; no backend's certificate can be verified");
            }
        }
        Self::stand_in(&[&std::env::temp_dir(), Path::new("/dev/shm"), Path::new(".")])
    }

    pub(crate) fn file(&self) -> Option<String> {
        self.stand_in.as_ref().map(|path| path.to_string_lossy().into_owned())
    }

    fn stand_in(folders: &[&Path]) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for folder in folders {
            let name = format!("portcullis-{}-{:08x}.pem", std::process::id(), rand::random::<u32>());
            let path = folder.join(name);
            let written = OpenOptions::new().write(true).create_new(true).open(&path);
            match written.and_then(|mut file| file.write_all(NO_AUTHORITY)) {
                Ok(()) => return Ok(Self { stand_in: Some(path) }),
                Err(error) => last = error,
            }
        }
        Err(io::Error::new(
            last.kind(),
            format!("no certificate authorities, and no folder to write a file for them to: {last}"),
        ))
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        if let Some(path) = &self.stand_in {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pingora_core::{connectors::http::Connector, server::configuration::ServerConf};

    use super::*;

    #[test]
    fn pingora_can_be_made_with_the_stand_in() {
        let nowhere = Path::new("/does/not/exist");
        let roots = Roots::stand_in(&[nowhere, &std::env::temp_dir()]).unwrap();
        let file = roots.file().unwrap();
        let conf = Arc::new(ServerConf { ca_file: Some(file.clone()), ..ServerConf::default() });
        let options = pingora_core::connectors::ConnectorOptions::from_server_conf(&conf);
        let _connector: Connector = Connector::new(Some(options));
        drop(roots);
        assert!(!Path::new(&file).exists());
    }

    #[test]
    fn without_a_folder_it_is_an_error() {
        let error = Roots::stand_in(&[Path::new("/does/not/exist")]).unwrap_err();
        assert!(error.to_string().starts_with("no certificate authorities"), "{error}");
    }
}
