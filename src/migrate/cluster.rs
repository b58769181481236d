//! Lists the objects of a cluster once. Objects are not modified, and Secrets are not read.

use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use portcullis_controller::migrate::Objects;

use crate::{cli::MigrateArgs, run::client};

/// The number of objects per page.
const PAGE: u32 = 500;
/// The names of the ConfigMaps of settings, TCP services and UDP services in the chart and manifests of ingress-nginx.
const USUAL_SETTINGS: &[(&str, &str)] = &[("ingress-nginx", "ingress-nginx-controller")];
const USUAL_TCP: &[(&str, &str)] =
    &[("ingress-nginx", "ingress-nginx-tcp"), ("ingress-nginx", "tcp-services")];
const USUAL_UDP: &[(&str, &str)] =
    &[("ingress-nginx", "ingress-nginx-udp"), ("ingress-nginx", "udp-services")];

/// Reads the objects of the cluster of the current kubeconfig context.
pub(super) async fn read(args: &MigrateArgs) -> anyhow::Result<Objects> {
    read_by(client().await?, args).await
}

async fn read_by(client: Client, args: &MigrateArgs) -> anyhow::Result<Objects> {
    let mut objects = Objects::with_prefix(args.annotations_prefix.clone());
    let networking = |kind, plural| resource("networking.k8s.io", kind, plural);
    let classes = Api::all_with(client.clone(), &networking("IngressClass", "ingressclasses"));
    list(&classes, &mut objects).await?;
    for resource in [networking("Ingress", "ingresses"), resource("", "Service", "services")] {
        for api in apis(&client, &args.namespace, &resource) {
            list(&api, &mut objects).await?;
        }
    }
    for (named, usual) in [
        (&args.settings_configmap, USUAL_SETTINGS),
        (&args.tcp_services_configmap, USUAL_TCP),
        (&args.udp_services_configmap, USUAL_UDP),
    ] {
        config_map(&client, named.as_ref(), usual, &mut objects).await?;
    }
    for (namespace, name) in objects.named_config_maps() {
        match config_maps(&client, &namespace).get(&name).await {
            Ok(found) => objects.add_live(serde_json::to_value(found)?),
            // The report has it where it is named.
            Err(error) => tracing::info!("ConfigMap {namespace}/{name} cannot be read: {error}"),
        }
    }
    Ok(objects)
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural)
}

fn apis(client: &Client, namespaces: &[String], resource: &ApiResource) -> Vec<Api<DynamicObject>> {
    match namespaces {
        [] => vec![Api::all_with(client.clone(), resource)],
        some => some.iter().map(|name| Api::namespaced_with(client.clone(), name, resource)).collect(),
    }
}

async fn list(api: &Api<DynamicObject>, objects: &mut Objects) -> anyhow::Result<()> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page =
            api.list(&params).await.with_context(|| format!("{} cannot be listed", api.resource_url()))?;
        for mut object in page.items {
            // The items of a list say neither.
            object.types.get_or_insert_with(|| page.types.clone()).kind = kind_of_item(&page.types.kind);
            objects.add_live(serde_json::to_value(object)?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

/// `Ingress` of `IngressList`.
fn kind_of_item(list: &str) -> String {
    list.strip_suffix("List").unwrap_or(list).to_owned()
}

fn config_maps(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource("", "ConfigMap", "configmaps"))
}

/// The ConfigMap that is named, or else the usual ones if they are there and may be read.
async fn config_map(
    client: &Client,
    named: Option<&(String, String)>,
    usual: &[(&str, &str)],
    objects: &mut Objects,
) -> anyhow::Result<()> {
    if let Some((namespace, name)) = named {
        let found = config_maps(client, namespace).get(name).await;
        let found = found.with_context(|| format!("ConfigMap {namespace}/{name} cannot be read"))?;
        objects.add_live(serde_json::to_value(found)?);
        return Ok(());
    }
    for (namespace, name) in usual {
        match config_maps(client, namespace).get(name).await {
            Ok(found) => objects.add_live(serde_json::to_value(found)?),
            Err(error) => tracing::info!("ConfigMap {namespace}/{name} is not compared: {error}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use http::{Method, Request, Response};
    use kube::client::Body;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MigrateArgs,
    }

    fn ingress(name: &str) -> serde_json::Value {
        serde_json::json!({
            "metadata": { "namespace": "shop", "name": name, "uid": name,
                "annotations": {
                    "nginx.ingress.kubernetes.io/server-snippet": "deny all;",
                    "nginx.ingress.kubernetes.io/custom-headers": format!("shop/headers-{name}"),
                    "nginx.ingress.kubernetes.io/auth-proxy-set-headers": "shop/../secrets/a",
                } },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.example" }] },
        })
    }

    fn list_of(kind: &str, items: Vec<serde_json::Value>, next: &str) -> serde_json::Value {
        serde_json::json!({ "apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": { "continue": next }, "items": items })
    }

    /// An API server with two pages of Ingresses. Everything but GET is an error.
    fn answer(request: &Request<Body>) -> (u16, serde_json::Value) {
        assert_eq!(request.method(), Method::GET, "nothing is written");
        let is_second = request.uri().query().is_some_and(|query| query.contains("continue=more"));
        match request.uri().path() {
            "/apis/networking.k8s.io/v1/ingresses" if is_second => {
                (200, list_of("IngressList", vec![ingress("b")], ""))
            }
            "/apis/networking.k8s.io/v1/ingresses" => {
                (200, list_of("IngressList", vec![ingress("a")], "more"))
            }
            "/apis/networking.k8s.io/v1/ingressclasses" => (200, list_of("IngressClassList", vec![], "")),
            "/api/v1/namespaces/shop/configmaps/headers-a" => (
                200,
                serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "X-A": "a" },
                    "metadata": { "namespace": "shop", "name": "headers-a", "uid": "headers-a" } }),
            ),
            path if path.contains("secrets") => panic!("{path} is read"),
            "/api/v1/services" => (200, list_of("ServiceList", vec![], "")),
            _ => (
                404,
                serde_json::json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404,
                    "reason": "NotFound", "message": "not found" }),
            ),
        }
    }

    #[tokio::test]
    async fn a_cluster_is_listed_page_by_page_and_nothing_is_written() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let (status, body) = answer(&request);
            let answer = Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, http::Error>(answer.expect("a response"))
        });
        let args = Line::try_parse_from(["migrate"]).expect("no flag is needed").args;
        let objects = read_by(Client::new(service, "default"), &args).await.expect("read");
        let report = portcullis_controller::migrate::report(&objects, &args.objects().settings());
        let names: Vec<_> = report.ingresses.iter().map(|ingress| ingress.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "{report}");
        let text = report.to_string();
        assert!(!text.contains("ConfigMap shop/headers-a was not read"), "{text}");
        assert!(text.contains("ConfigMap shop/headers-b was not read"), "{text}");

        let named = Line::try_parse_from(["migrate", "--settings-configmap", "a/b"]).expect("read").args;
        let service = tower::service_fn(|request: Request<Body>| async move {
            let (status, body) = answer(&request);
            let answer = Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, http::Error>(answer.expect("a response"))
        });
        let error = read_by(Client::new(service, "default"), &named).await.expect_err("it is not there");
        assert!(format!("{error:#}").contains("ConfigMap a/b cannot be read"), "{error:#}");
    }
}
