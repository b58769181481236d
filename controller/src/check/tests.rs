use std::path::PathBuf;

use super::{Verdict, check};
use crate::Settings;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/check").join(name)
}

/// The report's text, with paths from the folder on.
fn text(name: &str) -> (String, bool) {
    let root = testdata(name);
    let report = check(std::slice::from_ref(&root), &Settings::default());
    (report.to_string().replace(&format!("{}/", root.display()), ""), report.is_ok())
}

#[test]
fn what_would_be_served_is_accepted() {
    let (text, is_ok) = text("good");
    assert_eq!(
        text,
        "gateway.yaml:1: GatewayClass portcullis: accepted\n\
         gateway.yaml:8: Gateway shop/public: accepted\n\
         shop.yaml:1: HTTPRoute shop/web: accepted\n\
         shop.yaml:14: Service shop/web: accepted\n\
         shop.yaml:23: EndpointSlice shop/web-1: accepted\n\
         shop.yaml:36: Deployment shop/web: not served\n\
         \x20 warning: apps/v1 Deployment is not a supported kind; it has no effect\n\
         5 accepted, 1 not served, 1 warnings\n"
    );
    assert!(is_ok);
}

#[test]
fn what_leads_nowhere_says_so() {
    let (text, is_ok) = text("unresolved");
    for line in [
        "gateway.yaml:8: Gateway shop/public: accepted\n",
        "routes.yaml:1: HTTPRoute shop/nothing-behind: served in part\n  lost: at Gateway public: ResolvedRefs: BackendNotFound: ",
        "routes.yaml:14: HTTPRoute shop/not-granted: served in part\n  lost: at Gateway public: ResolvedRefs: RefNotPermitted: ",
        "routes.yaml:28: HTTPRoute shop/nowhere: refused\n  error: at Gateway public listener https: Accepted: NoMatchingParent: ",
        "error: at Gateway public port 81: Accepted: NoMatchingParent: ",
        "error: at Gateway public port 82: Accepted: NoMatchingParent: ",
    ] {
        assert!(text.contains(line), "want: {line}\nsays: {text}");
    }
    assert!(!is_ok);
}

#[test]
fn what_cannot_be_read_says_why_and_where() {
    let (text, is_ok) = text("refused");
    for line in [
        "mixed.yaml:1: HTTPRoute default/web: refused\n",
        "  warning: line 9: spec.rules[0].matches[0].path.pathtype: is not a field",
        "  error: line 10: spec.rules[0].matches[0].path.value: must begin with '/'",
        "mixed.yaml:12: Service default/web: refused\n  error: ",
        "mixed.yaml:19: ConfigMap default/settings: accepted\n  warning: is in mixed.yaml:26 as well; this one is served\n",
        "mixed.yaml:26: ConfigMap default/settings: refused\n  error: is in mixed.yaml:19 as well, which takes precedence\n",
        "mixed.yaml:33: document: refused\n  error: is not a Kubernetes object",
        "mixed.yaml:35: Ingress old: refused\n  error: apiVersion: extensions/v1beta1 of Ingress is not served",
        "1 accepted, 5 refused, 2 warnings\n",
    ] {
        assert!(text.contains(line), "want: {line}\nsays: {text}");
    }
    assert!(!is_ok);
}

#[test]
fn a_path_that_is_not_there_is_refused() {
    let report = check(&[testdata("nothing")], &Settings::default());
    assert_eq!(report.count(Verdict::Refused), 1);
    assert!(report.to_string().contains("cannot be read: No such file"), "{report}");
}

#[test]
fn a_file_that_is_named_is_read_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.txt");
    std::fs::write(&file, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n").unwrap();
    let whole = check(&[folder.path().to_owned()], &Settings::default());
    assert_eq!(whole.count(Verdict::Accepted), 0);
    let twice = check(&[file.clone(), file], &Settings::default());
    assert_eq!(twice.count(Verdict::Accepted), 1, "{twice}");
}

#[test]
fn a_second_document_is_refused_where_it_says_something_else() {
    let class = |controller| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: a}}\nspec: {{controller: {controller}}}\n"
        )
    };
    let (one, other) = (class("portcullis.dev/ingress-controller"), class("other.example/controller"));
    for (second, accepted, refused) in [
        (one.clone(), 2, 0),
        (format!("# The same in other words.\n{}", one.replace("{name: a}", "\n  name: a")), 2, 0),
        (other, 1, 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), &one).unwrap();
        std::fs::write(folder.path().join("b.yaml"), &second).unwrap();
        let report = check(&[folder.path().to_owned()], &Settings::default());
        let counts = (report.count(Verdict::Accepted), report.count(Verdict::Refused));
        assert_eq!(counts, (accepted, refused), "{second}\n{report}");
        let findings = report.objects.iter().flat_map(|object| &object.findings).count();
        assert_eq!(findings, 2 * refused, "{second}\n{report}");
    }
}

#[test]
fn what_is_said_of_an_object_is_said_of_each_document_that_has_it() {
    let route = std::fs::read_to_string(testdata("unresolved").join("routes.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(testdata("unresolved").join("gateway.yaml"), folder.path().join("gateway.yaml")).unwrap();
    std::fs::write(folder.path().join("routes.yaml"), format!("{route}---\n{route}")).unwrap();
    let once = check(&[testdata("unresolved")], &Settings::default());
    let twice = check(&[folder.path().to_owned()], &Settings::default());
    for verdict in [Verdict::Refused, Verdict::Unresolved] {
        assert!(once.count(verdict) > 0, "{once}");
        assert_eq!(twice.count(verdict), 2 * once.count(verdict), "{twice}");
    }
}

#[test]
fn a_report_is_json_too() {
    let report = check(&[testdata("refused")], &Settings::default());
    let json = serde_json::to_value(&report).unwrap();
    let route = &json["objects"][0];
    assert_eq!(
        (&route["kind"], &route["name"], &route["verdict"]),
        (&"HTTPRoute".into(), &"web".into(), &"refused".into())
    );
    let finding = &route["findings"][1];
    assert_eq!((&finding["level"], &finding["line"]), (&"error".into(), &10.into()));
}
