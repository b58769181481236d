use portcullis_routing::pattern;

use super::*;
use crate::{
    ir::{Kind, ObjectKey},
    problem::Topic,
    translate::{
        Pools, Settings, Translation, full,
        testing::{CLASS, snapshot},
    },
};

const GATEWAY: &str = "
kind: Gateway
metadata: { namespace: shop, name: public }
spec: { gatewayClassName: portcullis, listeners: [{ name: http, port: 80, protocol: HTTP }] }
---
";

/// A route with regular expressions as paths.
fn route(name: &str, created: u8, paths: &[&str]) -> String {
    let path = |path: &&str| format!("{{ path: {{ type: RegularExpression, value: '{path}' }} }}");
    let paths: Vec<_> = paths.iter().map(path).collect();
    format!(
        "
kind: HTTPRoute
metadata: {{ namespace: shop, name: {name}, creationTimestamp: '2024-01-0{created}T00:00:00Z' }}
spec: {{ parentRefs: [{{ name: public }}], hostnames: [{name}.test], rules: [{{ matches: [{}] }}] }}
---
",
        paths.join(", ")
    )
}

/// An Ingress with these annotations, and with these paths at each host.
fn ingress(name: &str, created: u8, annotations: &str, hosts: &[(&str, &[&str])]) -> String {
    let path = |path: &&str| {
        let backend = "{ service: { name: web, port: { number: 80 } } }";
        format!("{{ path: '{path}', pathType: ImplementationSpecific, backend: {backend} }}")
    };
    let rule = |(host, paths): &(&str, &[&str])| {
        let paths: Vec<_> = paths.iter().map(path).collect();
        format!("{{ host: {host}, http: {{ paths: [{}] }} }}", paths.join(", "))
    };
    let rules: Vec<_> = hosts.iter().map(rule).collect();
    format!(
        "
kind: Ingress
metadata: {{ namespace: shop, name: {name}, creationTimestamp: '2024-01-0{created}T00:00:00Z', annotations: {{ {annotations} }} }}
spec: {{ ingressClassName: portcullis, rules: [{}] }}
---
",
        rules.join(", ")
    )
}

const REGEX: &str = "nginx.ingress.kubernetes.io/use-regex: 'true'";

fn cost(path: &str) -> usize {
    let pattern = Location::pattern_of(path).unwrap_or_else(|| path.to_owned());
    Source::parse(&pattern).unwrap().cost()
}

fn within(pattern_budget: usize, objects: &str) -> Translation {
    let settings = Settings { pattern_budget, ..Settings::default() };
    full(&snapshot(objects), &settings, None, &Pools::default())
}

/// What an Ingress is told under the topic of closed paths.
fn closed(translation: &Translation, name: &str) -> Vec<String> {
    let report = translation.statuses.get(&ObjectKey::new(Kind::Ingress, "shop", name)).unwrap();
    let closed = report.messages.iter().filter(|message| message.topic == Some(Topic::Closed));
    closed.map(|message| message.text.clone()).collect()
}

/// All messages of an Ingress.
fn messages(translation: &Translation, name: &str) -> Vec<String> {
    let report = translation.statuses.get(&ObjectKey::new(Kind::Ingress, "shop", name)).unwrap();
    report.messages.iter().map(|message| message.text.clone()).collect()
}

#[test]
fn ingresses_share_the_budget_of_their_namespace_with_routes_and_older_objects_have_it() {
    let old = route("old", 1, &["/a[0-9]"]);
    let mid = ingress("mid", 2, REGEX, &[("mid.test", &["/b[0-9]", "/c[0-9]"])]);
    let new = ingress("new", 3, REGEX, &[("new.test", &["/b[0-9]"])]);
    let objects = format!("{CLASS}{GATEWAY}{new}{mid}{old}");
    let needed = Source::parse("/a[0-9]").unwrap().cost() + cost("/b[0-9]") + cost("/c[0-9]");
    let all = within(needed, &objects);
    for name in ["mid", "new"] {
        assert!(closed(&all, name).is_empty(), "a text counts once: {name}");
    }
    let fewer = within(needed - 1, &objects);
    let want = "its paths that are regular expressions are closed (503): the regular expressions of the attached routes and \
                the Ingresses of namespace shop would need more than 0 MiB of memory (the limit for a namespace), and older \
                objects take precedence";
    assert_eq!(closed(&fewer, "mid"), [want]);
    assert!(closed(&fewer, "new").is_empty(), "a younger one still fits");
    let none = within(0, &objects);
    assert_eq!((closed(&none, "mid"), closed(&none, "new")), (vec![want.into()], vec![want.into()]));
}

#[test]
fn an_ingress_is_within_the_budget_with_all_of_its_hosts_or_with_none() {
    let hosts: &[(&str, &[&str])] = &[("a.test", &["/a[0-9]"]), ("b.test", &["/b[0-9]", "/a[0-9]"])];
    let objects = format!("{CLASS}{}", ingress("web", 1, REGEX, hosts));
    let needed = cost("/a[0-9]") + cost("/b[0-9]");
    assert!(closed(&within(needed, &objects), "web").is_empty());
    let table = within(needed - 1, &objects).table.to_string();
    assert_eq!(table.matches("closed").count(), 3, "{table}");
}

/// Requests of a closed path do not reach another Ingress's shorter path.
#[test]
fn a_path_beyond_the_budget_is_closed_by_its_literal_start() {
    let open = ingress("open", 1, "", &[("a.test", &["/"])]);
    let protected = ingress("protected", 2, REGEX, &[("a.test", &["/admin/[a-z]+"])]);
    let table = within(0, &format!("{CLASS}{open}{protected}")).table.to_string();
    let line = table.lines().find(|line| line.contains("/admin/")).unwrap();
    assert!(!line.contains("[a-z]") && line.contains("closed"), "{table}");
    assert!(table.lines().any(|line| line.contains("shop/open") && !line.contains("closed")), "{table}");
}

#[test]
fn on_a_host_that_namespaces_share_a_budget_costs_its_own_namespace_alone() {
    let open =
        ingress("open", 1, "", &[("a.test", &["/", "/docs"])]).replace("namespace: shop", "namespace: blog");
    let cart = ingress("cart", 2, "", &[("a.test", &["/cart"])]);
    let over = ingress("over", 3, REGEX, &[("a.test", &["/(cart|checkout)/[a-z]+"])]);
    let other = ingress("other", 4, "", &[("b.test", &["/"])]);
    let translation = within(0, &format!("{CLASS}{open}{cart}{over}{other}"));
    let table = translation.table.to_string();
    let lines =
        |of: &str| table.lines().filter(|line| line.contains(of)).map(str::to_owned).collect::<Vec<_>>();
    let is_closed = |line: &String| line.contains("closed");
    assert!(!lines("blog/open").is_empty() && !lines("blog/open").iter().any(is_closed), "{table}");
    assert!(!lines("shop/cart").is_empty() && lines("shop/cart").iter().all(is_closed), "{table}");
    assert!(!lines("shop/other").is_empty() && !lines("shop/other").iter().any(is_closed), "{table}");
    assert!(lines("Ingress shop/over rule").is_empty(), "{table}");
    let want = "prefix /cart of a.test is closed (503): it may match requests that are meant for a regular expression of Ingress \
                shop/over that is refused or exceeds a limit";
    assert_eq!(closed(&translation, "cart"), [want]);
    let want = "its paths that are regular expressions are not served: the regular expressions of the attached routes";
    assert!(messages(&translation, "over").iter().any(|text| text.starts_with(want)));
    let report = translation.statuses.get(&ObjectKey::new(Kind::Ingress, "blog", "open")).unwrap();
    assert!(report.messages.iter().all(|message| message.topic != Some(Topic::Closed)));
}

#[test]
fn a_rewrite_by_groups_counts_too() {
    let rewrite = format!("{REGEX}, nginx.ingress.kubernetes.io/rewrite-target: /$2");
    let objects = format!("{CLASS}{}", ingress("web", 1, &rewrite, &[("a.test", &["/x(/|$)(.*)"])]));
    let needed = cost("/x(/|$)(.*)") + GroupSource::parse("/x(/|$)(.*)").unwrap().cost();
    assert!(closed(&within(needed, &objects), "web").is_empty());
    assert_eq!(closed(&within(needed - 1, &objects), "web").len(), 1);
}

#[test]
fn the_header_of_a_canary_counts_for_the_canary() {
    let canary = "nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: x, \
                  nginx.ingress.kubernetes.io/canary-by-header-pattern: 'a+'";
    let services = ["web", "next"].map(|name| {
        format!("kind: Service\nmetadata: {{ namespace: shop, name: {name} }}\nspec: {{ ports: [{{ port: 80 }}] }}\n---\n")
    });
    let canary = ingress("canary", 2, canary, &[("a.test", &["/"])]).replace("name: web", "name: next");
    let objects = format!("{}{}{canary}", services.concat(), ingress("main", 1, "", &[("a.test", &["/"])]));
    let needed = spread::source_of("a+").unwrap().cost();
    let told = |budget| {
        let translation = within(budget, &objects);
        let report = translation.statuses.get(&ObjectKey::new(Kind::Ingress, "shop", "canary")).unwrap();
        let told: Vec<_> = report.messages.iter().map(|message| message.text.clone()).collect();
        (told.concat(), translation.table.to_string())
    };
    let (within, with_header) = told(needed);
    assert_eq!(within, "");
    let (beyond, without) = told(needed - 1);
    assert!(
        beyond.contains("canary at a.test: requests with the header x go to the main Service: the regular"),
        "{beyond}"
    );
    assert_ne!(with_header, without, "the header is not searched");
}

#[test]
fn what_an_ingress_may_not_have_at_a_host_is_closed() {
    // Each takes about 1 MiB with the caches of its searches.
    let paths: Vec<_> = (0..20).map(|number| format!("/p{number}{}", r"\w{9}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let objects = format!("{CLASS}{}", ingress("web", 1, REGEX, &[("a.test", &paths)]));
    let told = closed(&within(64 << 20, &objects), "web");
    let fits = BUDGET / cost(r"/p10\w{9}");
    assert_eq!(told.len(), 20 - fits, "{told:?}");
    let want = "/p0\", except those that a longer path matches: the regular expressions of the Ingress would need more than \
                16 MiB of memory at the host (the limit for one object); use fewer regular expressions, or smaller repetitions \
                and classes";
    assert!(told.iter().any(|text| text.ends_with(want)), "{told:?}");
}

#[test]
fn on_a_shared_host_paths_that_an_ingress_may_not_have_are_not_served() {
    let paths: Vec<_> = (0..20).map(|number| format!("/p{number}{}", r"\w{9}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let open = ingress("open", 1, "", &[("a.test", &["/"])]).replace("namespace: shop", "namespace: blog");
    let web = ingress("web", 2, REGEX, &[("a.test", &paths), ("b.test", &["/b"])]);
    let translation = within(64 << 20, &format!("{CLASS}{open}{web}"));
    let table = translation.table.to_string();
    let fits = BUDGET / cost(r"/p10\w{9}");
    assert_eq!(lines(&table, "location /p").len(), fits, "{table}");
    assert!(
        !table.contains("closed"),
        "no path is matched after one that does not fit and starts like it: {table}"
    );
    assert!(closed(&translation, "web").is_empty());
    let why = "the regular expressions of the Ingress would need more than 16 MiB of memory at the host (the limit for one \
               object); use fewer regular expressions, or smaller repetitions and classes";
    let want = format!(r"path /p0\w{{9}} of a.test is not served: {why}");
    assert!(messages(&translation, "web").contains(&want), "{:?}", messages(&translation, "web"));
}

/// The lines of a table that contain a text.
fn lines<'t>(table: &'t str, of: &str) -> Vec<&'t str> {
    table.lines().filter(|line| line.contains(of)).collect()
}

/// Requests that a refused path may match do not reach a shorter path.
#[test]
fn a_refused_path_is_closed_by_its_literal_start() {
    let long = format!("/long(a|{})", "b".repeat(pattern::MAX_PATTERN));
    let refused = ["/admin/(?!login)[a-z]+", r"/big/\pL{900}", r"/named/\p{nothing}", "/broken(", &long];
    let open = ingress("open", 1, "", &[("a.test", &["/"])]);
    let public = ingress("public", 2, REGEX, &[("a.test", &["/admin/public/with/a/longer/[a-z]+"])]);
    let protected = ingress("protected", 3, REGEX, &[("a.test", &refused)]);
    let translation = within(64 << 20, &format!("{CLASS}{open}{public}{protected}"));
    let table = translation.table.to_string();
    let closed_lines = lines(&table, "Ingress shop/protected rule");
    let starts = ["/long ", "/admin/ ", "/named/ ", "/big/ ", "/broken "];
    assert_eq!(closed_lines.len(), starts.len(), "{table}");
    for (line, start) in closed_lines.iter().zip(starts) {
        assert!(line.contains(&format!("location {start}")) && line.contains("closed"), "{start}: {table}");
    }
    let position = |text| table.find(text).unwrap();
    assert!(
        position("location /admin/public/") < position("location /admin/ "),
        "the longer one is first: {table}"
    );
    assert!(position("location /admin/ ") < position("location / "), "{table}");
    assert!(!lines(&table, "shop/open rule").concat().contains("closed"), "{table}");
    let told = closed(&translation, "protected");
    assert_eq!(told.len(), refused.len(), "{told:?}");
    let want = "path /admin/(?!login)[a-z]+ of a.test is closed (503), and so are all requests that start with \"/admin/\", \
                except those that a longer path matches: not a regular expression: look-around, including look-ahead and \
                look-behind, is not supported; rewrite the expression without look-around (see `portcullis migrate`)";
    assert!(told.iter().any(|text| text == want), "{told:?}");
}

/// An Ingress of namespace blog.
fn of_blog(name: &str, created: u8, paths: &[&str]) -> String {
    ingress(name, created, "", &[("a.test", paths)]).replace("namespace: shop", "namespace: blog")
}

#[test]
fn a_namespace_without_a_path_of_its_own_does_not_share_a_host() {
    let cart = ingress("cart", 1, "", &[("a.test", &["/", "/cart", "/admin/public/with/a/longer/path"])]);
    let web = ingress("web", 2, REGEX, &[("a.test", &["/admin/(?!login)"])]);
    let lost = of_blog("lost", 3, &["/", "/cart"]);
    let table = |objects: &str| within(64 << 20, &format!("{CLASS}{objects}")).table.to_string();
    let alone = table(&format!("{cart}{web}"));
    assert_eq!(alone, table(&format!("{cart}{web}{lost}")));
    assert_eq!(alone.matches("closed").count(), 1, "{alone}");
}

#[test]
fn on_a_shared_host_only_paths_of_the_namespace_that_may_match_requests_of_a_refused_path_are_closed() {
    let own = ["/", "/adm", "/cart", "/ADMIN/", "/administrators", "/admin/public/with/a/longer/path"];
    let shop = ingress("cart", 1, "", &[("a.test", &own), ("b.test", &["/"])]);
    let wide = ingress("wide", 2, REGEX, &[("a.test", &["/(a|b)"])]);
    let web = ingress("web", 3, REGEX, &[("a.test", &["/admin/(?!x)", r"/named/\p{nothing}", "/[z]"])]);
    let blog = of_blog("open", 4, &["/blog", "/admin", "/a"]);
    let translation = within(64 << 20, &format!("{CLASS}{shop}{wide}{web}{blog}"));
    let table = translation.table.to_string();
    let closed_at = |of: &str| {
        let mut closed: Vec<_> = lines(&table, of).iter().map(|line| line.contains("closed")).collect();
        closed.dedup();
        closed
    };
    // With a slash at its end, the second one does not match what the refused path may match.
    let of_cart: [&[bool]; 7] = [&[true], &[false, true], &[false], &[true], &[false], &[false], &[false]];
    for (rule, want) in of_cart.into_iter().enumerate() {
        assert_eq!(closed_at(&format!("Ingress shop/cart rule {rule}")), want, "{rule}: {table}");
    }
    assert_eq!(closed_at("Ingress shop/wide rule"), [true], "{table}");
    assert_eq!(closed_at("Ingress shop/web rule"), [true], "/[z] may start with anything: {table}");
    assert_eq!(closed_at("Ingress blog/open rule"), [false], "{table}");
    let want = ["/", "/ADMIN", "/adm"].map(|path| {
        format!(
            "prefix {path} of a.test is closed (503): it may match requests that are meant for a regular expression of Ingress \
             shop/web that is refused or exceeds a limit"
        )
    });
    assert_eq!(closed(&translation, "cart"), want);
    let told = messages(&translation, "web");
    for want in [
        "path /named/\\p{nothing} of a.test is not served: not a regular expression: Unicode property not found; correct the \
         expression; the syntax is that of RE2",
        "path /admin/(?!x) of a.test is not served: not a regular expression: look-around, including look-ahead and \
         look-behind, is not supported; rewrite the expression without look-around (see `portcullis migrate`)",
    ] {
        assert!(told.iter().any(|text| text == want), "{want}: {told:?}");
    }
}

const SUBJECT: &str = "nginx.ingress.kubernetes.io/auth-tls-secret: shop/ca, \
                       nginx.ingress.kubernetes.io/auth-tls-match-cn: 'CN=a+'";

#[test]
fn a_subject_beyond_the_budget_is_reported_as_such() {
    let open = ingress("open", 1, "", &[("a.test", &["/"])]).replace("namespace: shop", "namespace: blog");
    let cart = ingress("cart", 2, "", &[("a.test", &["/cart"])]);
    let web = ingress("web", 3, SUBJECT, &[("a.test", &["/web"])]);
    let translation = within(0, &format!("{CLASS}{open}{cart}{web}"));
    for name in ["cart", "web"] {
        let report = translation.statuses.get(&ObjectKey::new(Kind::Ingress, "shop", name)).unwrap();
        let told: Vec<_> = report.messages.iter().map(|message| &*message.text).collect();
        let want = format!(
            "prefix /{name} of a.test: auth-tls-match-cn of Ingress shop/web: the regular expressions of "
        );
        assert!(told.iter().any(|text| text.starts_with(&want)), "{told:?}");
        assert!(
            !told.concat().contains("closed (503)"),
            "none of its paths is a regular expression: {told:?}"
        );
    }
    let table = translation.table.to_string();
    assert_eq!(lines(&table, "500 (auth-tls-match-cn of Ingress shop/web: ").len(), 2, "{table}");
}

#[test]
fn a_subject_counts_for_the_namespace_of_its_annotation_alone() {
    let guard = ingress("guard", 1, &SUBJECT.replace("shop/ca", "blog/ca"), &[("a.test", &["/"])]);
    let guard = guard.replace("namespace: shop", "namespace: blog");
    let web = ingress("web", 2, "", &[("a.test", &["/web"])]);
    let regex = ingress("regex", 3, REGEX, &[("b.test", &["/x[0-9]"])]);
    let subject = Source::parse("(?s:.*)(?:CN=a+)(?s:.*)").unwrap().cost();
    let budget = subject.max(cost("/x[0-9]"));
    let of = |budget| within(budget, &format!("{CLASS}{guard}{web}{regex}"));
    let all = of(budget);
    assert!(closed(&all, "regex").is_empty(), "{:?}", closed(&all, "regex"));
    let lines_of = |translation: &Translation| {
        let table = translation.table.to_string();
        ["blog/guard", "shop/web"].map(|name| lines(&table, &format!("Ingress {name} rule")).concat())
    };
    assert!(lines_of(&all).iter().all(|lines| !lines.contains("auth-tls-match-cn")), "{:?}", lines_of(&all));
    for line in lines_of(&of(subject - 1)) {
        let want = "500 (auth-tls-match-cn of Ingress blog/guard: the regular expressions of the attached routes and the \
                    Ingresses of namespace blog";
        assert!(line.contains(want), "{line}");
    }
}
