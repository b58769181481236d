//! The objects that Portcullis serves in a comparison, and what nginx has in place of the longest of them.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::Backend;
use crate::{
    scene::{fill, write_gateway},
    tls::Identity,
};

const ROUTES: &str = include_str!("../../peers/portcullis.yaml");
const STREAMS: &str = include_str!("../../peers/portcullis-streams.yaml");
const INGRESSES: &str = include_str!("../../peers/portcullis-ingress.yaml");

/// The ConfigMap of settings in `peers/portcullis-ingress.yaml`.
pub(super) const SETTINGS: &str = "default/settings";

/// Regular expressions of one host.
const EXPRESSIONS: usize = 100;

/// Writes the folder that Portcullis serves.
///
/// # Errors
/// Where the folder cannot be written.
pub(super) fn write(folder: &Path, identity: &Identity, backend: &Backend, ingresses: bool) -> Result<()> {
    write_gateway(folder, identity, backend.http)?;
    let values = [
        ("ORIGIN", backend.http.to_string()),
        ("ORIGINTLS", backend.tls.to_string()),
        ("ORIGINUDP", backend.udp.to_string()),
        // JSON is YAML on one line.
        ("AUTHORITY", serde_json::to_string(&identity.certificate)?),
        ("PATHS", ingress_paths()),
    ];
    let files = [("routes.yaml", ROUTES), ("streams.yaml", STREAMS), ("ingresses.yaml", INGRESSES)];
    for (name, template) in files.into_iter().take(if ingresses { 3 } else { 2 }) {
        let text = fill(template, &values).context(name)?;
        fs::write(folder.join(name), text).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// The locations that ingress-nginx generates for the paths of [`ingress_paths`]: paths of the same length are in reverse
/// alphabetical order.
pub(super) fn regex_locations() -> String {
    (0..EXPRESSIONS).rev().fold(String::new(), |mut text, number| {
        let expression = expression(number);
        let _ = writeln!(text, "location ~* \"^{expression}\" {{ proxy_pass http://origin; }}");
        text
    })
}

fn ingress_paths() -> String {
    let path = |number| {
        let path = expression(number);
        format!(
            "{{path: \"{path}\", pathType: ImplementationSpecific, backend: {{service: {{name: origin, port: {{number: 80}}}}}}}}"
        )
    };
    let paths: Vec<String> = (0..EXPRESSIONS).map(path).collect();
    format!("[{}]", paths.join(", "))
}

fn expression(number: usize) -> String {
    format!("/svc-{number:02}/[a-z]+/[0-9]+")
}

#[cfg(test)]
mod tests {
    use portcullis_controller::{
        Settings,
        check::check,
        ir::{Kind, ObjectKey},
    };

    use super::*;
    use crate::scene::HOST;

    #[test]
    fn every_object_is_accepted() {
        let folder = std::env::temp_dir().join(format!("portcullis-bench-manifests-{}", std::process::id()));
        let backend = Backend { http: 1, tls: 2, udp: 3 };
        write(&folder, &Identity::new(&[HOST]).unwrap(), &backend, true).unwrap();
        let (namespace, name) = SETTINGS.split_once('/').unwrap();
        let settings = Settings {
            settings_map: Some(ObjectKey::new(Kind::ConfigMap, namespace, name)),
            ..Settings::default()
        };
        let report = check(std::slice::from_ref(&folder), &settings);
        fs::remove_dir_all(&folder).unwrap();
        // The listener of the Gateway has a warning: Ingresses have more specific hosts on its port.
        let others = report.objects.iter().filter(|object| object.kind != Some("Gateway"));
        assert!(report.is_ok() && others.flat_map(|object| &object.findings).next().is_none(), "{report}");
        for kind in ["HTTPRoute", "TCPRoute", "TLSRoute", "UDPRoute", "BackendTLSPolicy", "Ingress"] {
            assert!(report.objects.iter().any(|object| object.kind == Some(kind)), "{kind}: {report}");
        }
    }

    #[test]
    fn nginx_has_the_paths_of_the_ingress() {
        let (locations, paths) = (regex_locations(), ingress_paths());
        assert_eq!(locations.lines().count(), EXPRESSIONS);
        assert!(locations.starts_with("location ~* \"^/svc-99/[a-z]+/[0-9]+\""), "{locations}");
        assert_eq!(paths.matches("/svc-").count(), EXPRESSIONS);
    }
}
