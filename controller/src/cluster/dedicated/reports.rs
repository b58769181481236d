//! Which ports each pod has bound, as the pods themselves report: a key for each in one ConfigMap.
//!
//! ```text
//! data:
//!   portcullis-7d9c5b6f4-2xkqp: 20000-20003,20007,20000/udp
//! ```

use std::{collections::BTreeMap, ops::RangeInclusive};

use portcullis_routing::{PortKey, Transport};
use serde_json::Value;

/// The most characters of a report; ports that do not fit in are not reported.
const LONGEST: usize = 4096;
/// So many reports of pods that are gone are left, besides one for each pod.
const LEFT: usize = 16;

/// The reports of all pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reports {
    texts: BTreeMap<Box<str>, Box<str>>,
    ports: BTreeMap<Box<str>, Vec<Range>>,
}

/// Ports of one transport, from one to another.
type Range = (Transport, RangeInclusive<u16>);

impl Reports {
    /// What cannot be read of a report is not reported.
    pub(super) fn read(config_map: &Value) -> Self {
        let data = config_map["data"].as_object().into_iter().flatten();
        let texts: BTreeMap<Box<str>, Box<str>> =
            data.filter_map(|(pod, text)| Some((pod.as_str().into(), text.as_str()?.into()))).collect();
        let ports = texts.iter().map(|(pod, text)| (pod.clone(), parse(text))).collect();
        Self { texts, ports }
    }

    /// Whether a pod has a port bound; `None` where it has not reported anything.
    pub(super) fn has_bound(&self, pod: &str, port: PortKey) -> Option<bool> {
        Some(
            self.ports
                .get(pod)?
                .iter()
                .any(|(transport, range)| *transport == port.transport && range.contains(&port.number)),
        )
    }

    pub(super) fn text(&self, pod: &str) -> Option<&str> {
        self.texts.get(pod).map(|text| &**text)
    }

    /// The reports of pods that are gone, where there are too many of them.
    pub(super) fn of_nobody(&self, pods: &[&str]) -> Vec<&str> {
        let gone = self.texts.keys().map(|pod| &**pod).filter(|pod| !pods.contains(pod));
        if self.texts.len() > 2 * pods.len() + LEFT { gone.collect() } else { Vec::new() }
    }
}

/// A report of these ports, which are in their order.
pub(super) fn report(ports: impl IntoIterator<Item = PortKey>) -> String {
    let mut ranges: Vec<Range> = Vec::new();
    for PortKey { transport, number } in ports {
        match ranges.last_mut() {
            Some((of, last)) if *of == transport && last.end().checked_add(1) == Some(number) => {
                *last = *last.start()..=number;
            }
            _ => ranges.push((transport, number..=number)),
        }
    }
    let mut text = String::new();
    for (transport, range) in ranges {
        let (first, number) = range.into_inner();
        let last = PortKey { transport, number };
        let more = if first == number { format!("{last}") } else { format!("{first}-{last}") };
        if text.len() + 1 + more.len() > LONGEST {
            break;
        }
        text += if text.is_empty() { "" } else { "," };
        text += &more;
    }
    text
}

/// What a pod is called among the keys of a ConfigMap, which take no other characters.
pub(super) fn key(pod: &str) -> String {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    pod.chars().map(|c| if is_fine(c) { c } else { '-' }).take(253).collect()
}

fn parse(text: &str) -> Vec<Range> {
    let range = |part: &str| {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (Some(first), last),
            None => (None, part),
        };
        let PortKey { transport, number: last } = last.trim().parse().ok()?;
        let first = first.map_or(Some(last), |first| first.trim().parse().ok())?;
        Some((transport, first..=last))
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_reported_as_ranges_and_found_again() {
        for (ports, want) in [
            (&[][..], ""),
            (&[20000], "20000"),
            (&[20000, 20001, 20002, 20005, 20007, 20008], "20000-20002,20005,20007-20008"),
            (&[65534, 65535], "65534-65535"),
        ] {
            let text = report(ports.iter().copied().map(PortKey::tcp));
            assert_eq!(text, want);
            let reports = Reports::read(&json!({"data": {"pod": text}}));
            for port in [20000, 20002, 20003, 20005, 20006, 20008, 65535] {
                let has_bound = reports.has_bound("pod", PortKey::tcp(port));
                assert_eq!(has_bound, Some(ports.contains(&port)), "{port} of {want}");
                assert_eq!(reports.has_bound("pod", PortKey::udp(port)), Some(false), "{port}/udp of {want}");
            }
            assert_eq!(reports.has_bound("other", PortKey::tcp(20000)), None);
        }
        let scattered = report((1..=65535).step_by(2).map(PortKey::tcp));
        assert!(scattered.len() <= LONGEST && scattered.starts_with("1,3,"));
    }

    #[test]
    fn ports_of_udp_are_others_than_those_of_tcp() {
        let (tcp, udp) = (PortKey::tcp, PortKey::udp);
        let text = report([tcp(20000), tcp(20001), udp(20002), udp(20003), udp(20005)]);
        assert_eq!(text, "20000-20001,20002-20003/udp,20005/udp");
        let reports = Reports::read(&json!({"data": {"pod": text}}));
        for (port, want) in [
            (tcp(20001), true),
            (tcp(20002), false),
            (udp(20001), false),
            (udp(20003), true),
            (udp(20005), true),
        ] {
            assert_eq!(reports.has_bound("pod", port), Some(want), "{port}");
        }
    }

    #[test]
    fn what_somebody_wrote_there_by_hand_is_no_report() {
        let reports =
            Reports::read(&json!({"data": {"a": "20000-, x ,,-5, 20003 - 20004,99999", "b": 7, "c": "9-3"}}));
        assert_eq!(reports.has_bound("a", PortKey::tcp(20003)), Some(true));
        assert_eq!(reports.has_bound("a", PortKey::tcp(20000)), Some(false));
        assert_eq!(
            (reports.has_bound("b", PortKey::tcp(7)), reports.has_bound("c", PortKey::tcp(5))),
            (None, Some(false))
        );
        for broken in [json!(null), json!({"data": []}), json!({"data": null}), json!([])] {
            assert_eq!(Reports::read(&broken), Reports::default());
        }
    }

    #[test]
    fn reports_of_pods_that_are_gone_do_not_pile_up() {
        let data = |count: usize| {
            let pods: serde_json::Map<_, _> =
                (0..count).map(|i| (format!("pod-{i:02}"), json!("20000"))).collect();
            Reports::read(&json!({ "data": pods }))
        };
        assert_eq!(data(20).of_nobody(&["pod-00", "pod-01"]), [""; 0]);
        assert_eq!(data(21).of_nobody(&["pod-00", "pod-01"]).len(), 19);
    }

    #[test]
    fn any_name_is_a_key() {
        assert_eq!(key("portcullis-7d9c.a_B"), "portcullis-7d9c.a_B");
        assert_eq!(key("a b/\u{e4}"), "a-b--");
        assert_eq!(key(&"a".repeat(300)).len(), 253);
    }
}
