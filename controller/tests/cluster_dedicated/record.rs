//! The record of the ports that Gateways got, which every replica reads.

use super::*;

#[tokio::test]
async fn what_a_tenant_writes_into_a_service_moves_no_port() {
    let server = cluster().await;
    let replica = Replica::start(&server, "a", true);
    for (name, port) in [("one", "80->20000"), ("two", "80->20001")] {
        gateway(&server, name, &[80]);
        until("its Service", || ports_of(&server, name).filter(|ports| *ports == [port])).await;
    }
    until("both in the table", || (replica.ports() == [(20000, 80), (20001, 80)]).then_some(())).await;
    // The older Service names the port of the other one.
    let mut edited = server.get("services", "infra", &service_of("one")).unwrap();
    edited["spec"]["ports"][0]["targetPort"] = 20001.into();
    server.apply("services", edited);
    until("what is ours is written again", || {
        ports_of(&server, "one").filter(|ports| *ports == ["80->20000"])
    })
    .await;
    assert_eq!(replica.ports(), [(20000, 80), (20001, 80)]);
    assert_eq!(record(&server), ["one 80 20000", "two 80 20001"]);
    assert_eq!(ports_of(&server, "two").unwrap(), ["80->20001"]);
}

#[tokio::test]
async fn ports_of_services_that_there_are_already_are_taken_over() {
    let server = cluster().await;
    gateway(&server, "one", &[80]);
    let gateway = server.get("gateways", "infra", "one").unwrap();
    server.apply(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": service_of("one"), "namespace": "infra", "labels": {"portcullis.dev/addressing": "Dedicated"},
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "one",
                    "uid": gateway["metadata"]["uid"],
                }],
            },
            "spec": {"ports": [{"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 20007}]},
        }),
    );
    let replica = Replica::start(&server, "a", true);
    until("the same port", || (replica.ports() == [(20007, 80)]).then_some(())).await;
    assert_eq!(record(&server), ["one 80 20007"]);
}

#[tokio::test]
async fn of_two_that_take_themselves_for_the_leader_one_reads_again() {
    let server = cluster().await;
    let (a, b) = (Replica::start(&server, "a", true), Replica::start(&server, "b", true));
    for name in GATEWAYS {
        gateway(&server, name, &[80, 443]);
    }
    let all = || [(20000, 80), (20001, 443), (20002, 80), (20003, 443), (20004, 80), (20005, 443)];
    let is_complete = |replica: &Replica| {
        let (ports, numbers): (Vec<_>, Vec<_>) = replica.ports().into_iter().unzip();
        (ports.len() == 6 && numbers.iter().filter(|number| **number == 80).count() == 3).then_some(ports)
    };
    until("all in both", || Some((is_complete(&a)?, is_complete(&b)?))).await;
    assert_eq!(a.ports(), b.ports());
    let recorded: BTreeSet<u16> =
        record(&server).iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(recorded.len(), all().len(), "{:?}", record(&server));
    until("Services that say the same", || {
        GATEWAYS
            .iter()
            .all(|name| {
                let of = |port: u16| {
                    let line =
                        record(&server).into_iter().find(|line| line.starts_with(&format!("{name} {port} ")));
                    format!("{port}->{}", line.unwrap().rsplit(' ').next().unwrap())
                };
                ports_of(&server, name) == Some(vec![of(80), of(443)])
            })
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_record_that_is_edited_or_deleted_costs_what_is_broken() {
    let (server, log) = (cluster().await, Log::begin());
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    gateway(&server, "two", &[80]);
    until("both in the table", || (replica.ports().len() == 2).then_some(())).await;
    let before = record(&server);
    server.delete("configmaps", "portcullis", "portcullis-ports");
    until("the record", || (record(&server) == before).then_some(())).await;
    let mut edited = server.get("configmaps", "portcullis", "portcullis-ports").unwrap();
    let ports = edited["data"]["ports"].as_str().unwrap().to_owned();
    let (first, second) = ports.split_once('\n').unwrap();
    edited["data"]["ports"] = format!("{first}\nthis is {second}").into();
    server.apply("configmaps", edited);
    until("another port for the one that was broken", || {
        let now = record(&server);
        (now.len() == 2 && now != before && now[0] == before[0] && now[1].ends_with(" 20002")).then_some(())
    })
    .await;
    until("that in the table", || (replica.ports() == [(20000, 80), (20002, 80)]).then_some(())).await;
    assert_eq!(log.lines(&["WARN", "the port allocations have invalid lines"]).len(), 1);
}

#[tokio::test]
async fn a_range_that_is_used_up_is_said_of_the_gateway() {
    let server = cluster().await;
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &(1..=10).collect::<Vec<_>>());
    until("its Service", || ports_of(&server, "one").filter(|ports| ports.len() == 10)).await;
    gateway(&server, "two", &[80]);
    until("the reason", || {
        let condition = replica.programmed("two")?;
        let why = "cannot be created: port 80: no port is available in 20000-20009 (--dedicated-ports)";
        (condition.reason == "Pending" && condition.message.contains(why)).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_to_read_the_record_everything_else_is_served() {
    let server = cluster().await;
    for verb in ["list", "watch"] {
        server.deny(verb, "configmaps");
    }
    gateway(&server, "one", &[80]);
    let replica = Replica::start(&server, "a", true);
    let ready = replica.handle.ready();
    until("a table", || ready.borrow().then_some(())).await;
    until("the reason", || {
        let message = replica.programmed("one")?.message;
        message
            .contains("ConfigMap portcullis/portcullis-ports with the port allocations cannot be read")
            .then_some(())
    })
    .await;
    assert_eq!(ports_of(&server, "one"), None);
    for verb in ["list", "watch"] {
        server.allow(verb, "configmaps");
    }
    until("a Service as soon as it may be read", || ports_of(&server, "one")).await;
}

#[tokio::test(start_paused = true)]
async fn the_record_is_waited_for_and_not_for_ever() {
    let server = cluster().await;
    server.fault(Fault { method: "GET", path: "/configmaps", times: usize::MAX, answer: Answer::Stall });
    let replica = Replica::start(&server, "a", true);
    let ready = replica.handle.ready();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!*ready.borrow(), "ports that it does not know are not bound");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(*ready.borrow(), "one kind of Gateways must not keep all others waiting");
}
