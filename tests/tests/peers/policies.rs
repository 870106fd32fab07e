//! What every installation for money must hold, whatever the templates look like. Each policy comes with a way to break it, and
//! is shown to notice.

use std::{num::NonZeroU16, path::PathBuf};

use anyhow::Context as _;
use clap::Parser as _;
use serde_json::{Value, json};
use switch_tests::pay_twice;

use crate::{
    helm::{Manifests, containers, list, values_files},
    tool::root,
};

/// One claim about the objects that the chart renders to.
struct Policy {
    claim: &'static str,
    /// What is wrong; nothing where the claim holds.
    judge: fn(&Manifests) -> Vec<String>,
    /// Breaks it.
    spoil: fn(&mut Manifests),
}

const STATEFUL_SET: &str = "StatefulSet";
const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

const POLICIES: &[Policy] = &[
    Policy {
        claim: "no process is root",
        judge: |all| {
            each_pod(all, |pod| {
                let context = &pod["securityContext"];
                let numeric = context["runAsUser"].as_u64().is_some_and(|user| user > 0);
                context["runAsNonRoot"] == true && numeric && context["seccompProfile"]["type"] == "RuntimeDefault"
            })
        },
        spoil: |all| all.set(STATEFUL_SET, "/spec/template/spec/securityContext/runAsUser", json!(0)),
    },
    Policy {
        claim: "no container writes to its root or gains a right",
        judge: |all| {
            each_container(all, |container| {
                let context = &container["securityContext"];
                context["readOnlyRootFilesystem"] == true
                    && context["allowPrivilegeEscalation"] == false
                    && context["capabilities"] == json!({"drop": ["ALL"]})
                    && context["privileged"].is_null()
            })
        },
        spoil: |all| {
            all.set(STATEFUL_SET, &format!("{CONTAINER}/securityContext/readOnlyRootFilesystem"), json!(false));
        },
    },
    Policy {
        claim: "no pod has a token or is told of other services",
        judge: |all| {
            let mut found =
                each_pod(all, |pod| pod["automountServiceAccountToken"] == false && pod["enableServiceLinks"] == false);
            let accounts = all.of("ServiceAccount");
            found.extend(accounts.filter(|account| account["automountServiceAccountToken"] != false).map(name));
            found.extend(all.of("RoleBinding").chain(all.of("ClusterRoleBinding")).map(name));
            found
        },
        spoil: |all| all.set(STATEFUL_SET, &format!("{POD}/automountServiceAccountToken"), json!(true)),
    },
    Policy {
        claim: "nothing of the machine is shared",
        judge: |all| {
            let mut found = each_pod(all, |pod| {
                let shares = ["hostNetwork", "hostPID", "hostIPC"].iter().any(|share| pod[share] == true);
                let paths = list(&pod["volumes"]).any(|volume| !volume["hostPath"].is_null());
                !shares && !paths
            });
            found.extend(each_container(all, |container| {
                list(&container["ports"]).all(|port| port["hostPort"].is_null())
            }));
            found
        },
        spoil: |all| {
            all.set(STATEFUL_SET, &format!("{POD}/volumes/0"), json!({"name": "x", "hostPath": {"path": "/"}}));
        },
    },
    Policy {
        claim: "what a container needs is asked for, its memory is bounded, and no node's CPU is throttled",
        judge: |all| {
            each_container(all, |container| {
                let (requests, limits) = (&container["resources"]["requests"], &container["resources"]["limits"]);
                let asked = !requests["cpu"].is_null() && !requests["memory"].is_null();
                asked && !limits["memory"].is_null() && limits["cpu"].is_null()
            })
        },
        spoil: |all| {
            all.set(STATEFUL_SET, &format!("{CONTAINER}/resources/limits"), json!({"memory": "2Gi", "cpu": 1}));
        },
    },
    Policy {
        claim: "liveness asks the process alone, readiness and start have pages of their own",
        judge: |all| {
            let node = &all.the(STATEFUL_SET)["spec"]["template"]["spec"]["containers"][0];
            let pages = [("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/startupz")];
            let mut found: Vec<String> = pages
                .iter()
                .filter(|(probe, page)| node[probe]["httpGet"] != json!({"path": page, "port": "plain"}))
                .map(|(probe, page)| format!("{probe} is not {page}"))
                .collect();
            // What runs once and ends is asked nothing.
            let probed =
                |container: &Value| !container["livenessProbe"].is_null() && !container["readinessProbe"].is_null();
            let unprobed = all.serving().filter(|(_, pod)| !list(&pod["containers"]).all(probed));
            found.extend(unprobed.map(|(workload, _)| name(workload)));
            found
        },
        spoil: |all| all.set(STATEFUL_SET, &format!("{CONTAINER}/livenessProbe/httpGet/path"), json!("/readyz")),
    },
    Policy {
        claim: "a stopping node has time to drain",
        judge: |all| {
            let pod = &all.the(STATEFUL_SET)["spec"]["template"]["spec"];
            let sleep_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
            let given_s = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(0);
            let needed_s = sleep_s + drain_max_s() + 5;
            let fits = sleep_s > 0 && given_s >= needed_s;
            (!fits).then(|| format!("{given_s} s are given, {needed_s} s are needed")).into_iter().collect()
        },
        spoil: |all| all.set(STATEFUL_SET, &format!("{POD}/terminationGracePeriodSeconds"), json!(30)),
    },
    Policy {
        claim: "evictions take one node at a time, and a sick one holds up nothing",
        judge: |all| {
            let budget = &all.the("PodDisruptionBudget")["spec"];
            let pods = &all.the(STATEFUL_SET)["spec"]["selector"];
            let holds = budget["maxUnavailable"] == 1
                && budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
                && budget["selector"] == *pods;
            (!holds).then(|| format!("{budget}")).into_iter().collect()
        },
        spoil: |all| all.0.retain(|object| object["kind"] != "PodDisruptionBudget"),
    },
    Policy {
        claim: "nodes are kept apart, by machine and by zone",
        judge: |all| {
            let spec = &all.the(STATEFUL_SET)["spec"];
            let (pod, own) = (&spec["template"]["spec"], &spec["selector"]);
            let apart = &pod["affinity"]["podAntiAffinity"];
            let hard = list(&apart["requiredDuringSchedulingIgnoredDuringExecution"]);
            let soft =
                list(&apart["preferredDuringSchedulingIgnoredDuringExecution"]).map(|term| &term["podAffinityTerm"]);
            let machines = hard
                .chain(soft)
                .any(|term| term["topologyKey"] == "kubernetes.io/hostname" && term["labelSelector"] == *own);
            let zones = list(&pod["topologySpreadConstraints"]).any(|spread| spread["labelSelector"] == *own);
            let missing = [(machines, "machines"), (zones, "zones")];
            missing.iter().filter(|(holds, _)| !holds).map(|(_, what)| (*what).to_owned()).collect()
        },
        spoil: |all| all.set(STATEFUL_SET, &format!("{POD}/affinity"), json!({})),
    },
    Policy {
        claim: "who is not named reaches no port, and peers are only the nodes themselves",
        judge: |all| {
            let pods = &all.the(STATEFUL_SET)["spec"]["selector"];
            let mut policies = all.of("NetworkPolicy").map(|policy| &policy["spec"]);
            let Some(policy) = policies.find(|policy| policy["podSelector"] == *pods) else {
                return vec!["no policy for the nodes".to_owned()];
            };
            let mut found = Vec::new();
            if policy["policyTypes"] != json!(["Ingress", "Egress"]) {
                found.push("one direction is open".to_owned());
            }
            for rule in list(&policy["ingress"]) {
                if list(&rule["from"]).next().is_none() || list(&rule["ports"]).next().is_none() {
                    found.push(format!("anybody, or any port: {rule}"));
                }
                let to_peers = list(&rule["ports"]).any(|port| port["port"] == "peer");
                if to_peers && rule["from"] != json!([{"podSelector": pods}]) {
                    found.push(format!("others than nodes reach the peer port: {rule}"));
                }
            }
            let anywhere = list(&policy["egress"]).filter(|rule| list(&rule["to"]).next().is_none());
            found.extend(anywhere.map(|rule| format!("to anywhere: {rule}")));
            found
        },
        spoil: |all| all.set("NetworkPolicy", "/spec/ingress/1/from", json!([{"podSelector": {}}])),
    },
    Policy {
        claim: "all nodes start at once, and their disks outlive the release",
        judge: |all| {
            let spec = &all.the(STATEFUL_SET)["spec"];
            let claims = list(&spec["volumeClaimTemplates"]);
            let mut found = Vec::new();
            if spec["podManagementPolicy"] != "Parallel" {
                found.push("one after the other".to_owned());
            }
            if spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] != "Retain" {
                found.push("disks go with the release".to_owned());
            }
            // Kubernetes refuses every change of a claim's template, and labels change with the chart's version.
            let plain = claims.map(|claim| &claim["metadata"]).all(|data| *data == json!({"name": "data"}));
            let mounted = list(&spec["template"]["spec"]["containers"][0]["volumeMounts"]).any(|m| m["name"] == "data");
            if !plain || !mounted {
                found.push("the disk is not a plain claim that is mounted".to_owned());
            }
            found
        },
        spoil: |all| all.set(STATEFUL_SET, "/spec/podManagementPolicy", json!("OrderedReady")),
    },
    Policy {
        claim: "keys come from secrets as files that nobody else reads, never through the environment",
        judge: |all| {
            let mut found = each_pod(all, |pod| {
                list(&pod["volumes"]).all(|volume| {
                    let modes =
                        [&volume["secret"], &volume["projected"]].into_iter().filter(|source| !source.is_null());
                    modes.into_iter().all(|source| source["defaultMode"].as_u64().is_some_and(|mode| mode & 0o037 == 0))
                })
            });
            found.extend(each_container(all, |container| {
                let from_secret = |variable: &Value| !variable["valueFrom"]["secretKeyRef"].is_null();
                container["envFrom"].is_null() && !list(&container["env"]).any(from_secret)
            }));
            // A secret that is rendered is one that was made here, anew at each deployment.
            found.extend(all.of("Secret").map(name));
            found
        },
        spoil: |all| {
            let secret = json!({"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o444}});
            all.set(STATEFUL_SET, &format!("{POD}/volumes/1"), secret);
        },
    },
    Policy {
        claim: "every certificate says one thing, on a curve, with a key of its own each time",
        judge: |all| {
            let good = |certificate: &&Value| {
                let spec = &certificate["spec"];
                let one = list(&spec["uris"]).count() == 1;
                let is_server = list(&spec["usages"]).any(|usage| usage == "server auth");
                let named = list(&spec["dnsNames"]).next().is_some();
                let key = &spec["privateKey"];
                let curve = key["algorithm"] == "ECDSA" && key["size"] == 256 && key["rotationPolicy"] == "Always";
                one && curve && is_server == named
            };
            all.of("Certificate").filter(|certificate| !good(certificate)).map(name).collect()
        },
        spoil: |all| all.set("Certificate", "/spec/uris/1", json!("spiffe://example.org/operator/somebody")),
    },
    Policy {
        claim: "an image is a version, never the latest",
        judge: |all| {
            each_container(all, |container| {
                let image = container["image"].as_str().unwrap_or_default();
                let last = image.rsplit('/').next().unwrap_or_default();
                (last.contains(':') || last.contains("@sha256:")) && !last.ends_with(":latest")
            })
        },
        spoil: |all| all.set(STATEFUL_SET, &format!("{CONTAINER}/image"), json!("payment-switch/node")),
    },
    Policy {
        claim: "services and monitors find pods, and ports that these have",
        judge: |all| {
            let mut found = Vec::new();
            let workloads: Vec<&Value> = all.of(STATEFUL_SET).chain(all.of("Deployment")).collect();
            for service in all.of("Service") {
                let pods =
                    workloads.iter().find(|set| set["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]);
                let ports = pods.map(|set| &set["spec"]["template"]["spec"]["containers"][0]["ports"]);
                let has = |target: &Value| list(ports.unwrap_or(&Value::Null)).any(|port| port["name"] == *target);
                if !list(&service["spec"]["ports"]).all(|port| has(&port["targetPort"])) {
                    found.push(name(service));
                }
            }
            for monitor in all.of("PodMonitor").chain(all.of("ServiceMonitor")) {
                let spec = &monitor["spec"];
                let mut endpoints = list(&spec["podMetricsEndpoints"]).chain(list(&spec["endpoints"]));
                if spec["selector"] != all.the(STATEFUL_SET)["spec"]["selector"]
                    || !endpoints.all(|endpoint| endpoint["port"] == "plain" && endpoint["path"] == "/metrics")
                {
                    found.push(name(monitor));
                }
            }
            found
        },
        spoil: |all| all.set("Service", "/spec/ports/0/targetPort", json!("door")),
    },
    Policy {
        claim: "every port of a service says what is spoken there, and only probes and metrics are in the clear",
        judge: |all| {
            let said = |port: &Value| port["appProtocol"] == if port["name"] == "plain" { "http" } else { "https" };
            all.of("Service").filter(|service| !list(&service["spec"]["ports"]).all(said)).map(name).collect()
        },
        spoil: |all| all.set("Service", "/spec/ports/0/appProtocol", json!("kubernetes.io/h2c")),
    },
    Policy {
        claim: "backups are made one at a time, come to an end, and outlive the release",
        judge: |all| {
            let good = |backup: &&Value| {
                let (spec, job) = (&backup["spec"], &backup["spec"]["jobTemplate"]["spec"]);
                let bounded = [&spec["startingDeadlineSeconds"], &job["activeDeadlineSeconds"], &job["backoffLimit"]];
                spec["concurrencyPolicy"] == "Forbid"
                    && bounded.iter().all(|bound| bound.is_u64())
                    && job["template"]["spec"]["restartPolicy"] == "Never"
            };
            let mut found: Vec<String> = all.of("CronJob").filter(|backup| !good(backup)).map(name).collect();
            let kept = |claim: &Value| claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
            found.extend(all.of("PersistentVolumeClaim").filter(|claim| !kept(claim)).map(name));
            found
        },
        spoil: |all| all.set("CronJob", "/spec/concurrencyPolicy", json!("Allow")),
    },
    Policy {
        claim: "a changed option reaches the nodes",
        judge: |all| {
            let template = &all.the(STATEFUL_SET)["spec"]["template"];
            let told =
                template["metadata"]["annotations"]["checksum/config"].as_str().is_some_and(|sum| sum.len() == 64);
            (!told).then(|| "no checksum of the configuration".to_owned()).into_iter().collect()
        },
        spoil: |all| all.set(STATEFUL_SET, "/spec/template/metadata/annotations", json!({})),
    },
];

/// Whatever is meant for money lacks nothing; what leaves a guard down does so on purpose, and that one alone.
#[tokio::test]
async fn every_policy_holds_with_every_file_of_values_but_for_guards_that_are_left_down_on_purpose()
-> anyhow::Result<()> {
    let (evictions, apart, reached, disks) = (
        "evictions take one node at a time, and a sick one holds up nothing",
        "nodes are kept apart, by machine and by zone",
        "who is not named reaches no port, and peers are only the nodes themselves",
        "all nodes start at once, and their disks outlive the release",
    );
    let left_down = [("ci/shut-values.yaml", vec![evictions, apart, reached]), ("values-dev.yaml", vec![apart, disks])];
    let mut lacking = Vec::new();
    for values in values_files()? {
        let manifests = Manifests::render(&values, &[]).await?;
        let judged = POLICIES.iter().map(|policy| (policy.claim, (policy.judge)(&manifests)));
        let lacks: Vec<_> = judged.filter(|(_, found)| !found.is_empty()).collect();
        if !lacks.is_empty() {
            lacking.push((values, lacks));
        }
    }
    let claims = |lacks: &[(&'static str, Vec<String>)]| lacks.iter().map(|(claim, _)| *claim).collect::<Vec<_>>();
    let found: Vec<_> = lacking.iter().map(|(values, lacks)| (values.as_str(), claims(lacks))).collect();
    assert_eq!(found, left_down, "{lacking:#?}");
    Ok(())
}

#[tokio::test]
async fn every_policy_notices_when_it_is_broken_and_no_other_does() -> anyhow::Result<()> {
    // Production asks for every kind of object that is judged.
    let good = Manifests::render("values-production.yaml", &[]).await?;
    for broken in POLICIES {
        let mut spoilt = good.clone();
        (broken.spoil)(&mut spoilt);
        assert_eq!(noticed(&spoilt), [broken.claim]);
    }
    Ok(())
}

/// A pod that runs once is judged as well as those that run for good.
#[tokio::test]
async fn a_test_of_the_release_is_a_pod_like_the_others() -> anyhow::Result<()> {
    let good = Manifests::render("ci/everything-values.yaml", &[]).await?;
    let pod = good.the("Pod");
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let secret = &pod["spec"]["volumes"][0]["secret"];
    assert_eq!((&secret["secretName"], &secret["defaultMode"]), (&json!("till-test"), &json!(0o440)));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/usr/local/bin/dev", "pay-twice"]));
    let args = list(&container["args"]).filter_map(Value::as_str);
    pay_twice::Args::try_parse_from(std::iter::once("pay-twice").chain(args))?;
    let mut spoilt = good.clone();
    spoilt.set("Pod", "/spec/securityContext/runAsUser", json!(0));
    spoilt.set("Pod", "/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(false));
    assert_eq!(noticed(&spoilt), ["no process is root", "no container writes to its root or gains a right"]);
    Ok(())
}

/// What a backup runs is what admin-cli takes, with files that are there, and a way to the nodes and to nobody else.
#[tokio::test]
async fn a_backup_asks_every_node_as_an_operator_and_is_a_pod_like_the_others() -> anyhow::Result<()> {
    let good = Manifests::render("ci/everything-values.yaml", &[]).await?;
    let job = &good.the("CronJob")["spec"]["jobTemplate"]["spec"]["template"];
    let (pod, container) = (&job["spec"], &job["spec"]["containers"][0]);
    let args = list(&container["args"]).filter_map(Value::as_str);
    let taken = admin_cli::command().try_get_matches_from(std::iter::once("admin-cli").chain(args))?;
    let (noun, verb) =
        taken.subcommand().and_then(|(noun, verb)| Some((noun, verb.subcommand()?))).context("no verb")?;
    assert_eq!((noun, verb.0), ("snapshot", "save"));
    let asked: Vec<&String> = verb.1.get_many("endpoint").context("no node")?.collect();
    let nodes: Vec<String> = (0..5).map(|node| format!("till-{node}.till-peers.shop.svc.k8s.example:8003")).collect();
    assert_eq!(asked, nodes.iter().collect::<Vec<_>>());
    assert_eq!(verb.1.get_one::<NonZeroU16>("keep").map(|keep| keep.get()), Some(12));

    let mounts: Vec<&str> = list(&container["volumeMounts"]).filter_map(|mount| mount["mountPath"].as_str()).collect();
    let files = ["certificate", "key", "roots", "file"];
    for file in files.map(|file| verb.1.get_one::<PathBuf>(file)) {
        let file = file.context("a file is not named")?;
        assert!(mounts.iter().any(|mount| file.starts_with(mount)), "nothing is mounted at {}", file.display());
    }
    assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "shelf");
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "till-backups");

    let selects = |selector: &Value| {
        let labels = selector["matchLabels"].as_object();
        labels.is_some_and(|labels| labels.iter().all(|(label, value)| job["metadata"]["labels"][label] == *value))
    };
    let policy = good.of("NetworkPolicy").find(|policy| selects(&policy["spec"]["podSelector"]));
    let policy = &policy.context("no policy for backups")?["spec"];
    assert_eq!((&policy["policyTypes"], &policy["ingress"]), (&json!(["Ingress", "Egress"]), &Value::Null));
    let nodes = json!([{"podSelector": good.the(STATEFUL_SET)["spec"]["selector"]}]);
    assert_eq!((&policy["egress"][0]["to"], &policy["egress"][0]["ports"][0]["port"]), (&nodes, &json!(8003)));
    let doors = &good.the("NetworkPolicy")["spec"]["ingress"];
    let door = list(doors).find(|rule| rule["ports"][0]["port"] == "operator").context("no door for operators")?;
    assert!(list(&door["from"]).any(|peer| selects(&peer["podSelector"])), "{door}");

    let made = Manifests::render("values-production.yaml", &[]).await?;
    assert_eq!(made.the("PersistentVolumeClaim")["metadata"]["name"], "pay-payment-switch-backup");
    assert!(good.of("PersistentVolumeClaim").next().is_none(), "a claim is made beside the one that is there");

    let mut spoilt = good.clone();
    spoilt.set("CronJob", "/spec/jobTemplate/spec/template/spec/securityContext/runAsUser", json!(0));
    assert_eq!(noticed(&spoilt), ["no process is root"]);
    Ok(())
}

impl Manifests {
    /// Sets a place in the first object of a kind; the place's parent must be there.
    fn set(&mut self, kind: &str, pointer: &str, value: Value) {
        let object = self.0.iter_mut().find(|object| object["kind"] == kind).expect("an object of the kind");
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        match object.pointer_mut(parent).expect("the place's parent") {
            Value::Array(places) => match last.parse::<usize>().expect("a number") {
                index if index < places.len() => places[index] = value,
                _ => places.push(value),
            },
            parent => parent[last] = value,
        }
    }
}

/// Claims that do not hold.
fn noticed(all: &Manifests) -> Vec<&'static str> {
    POLICIES.iter().filter(|policy| !(policy.judge)(all).is_empty()).map(|policy| policy.claim).collect()
}

/// Pods for which `holds` does not.
fn each_pod(all: &Manifests, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    all.pods().filter(|(_, pod)| !holds(pod)).map(|(object, _)| name(object)).collect()
}

fn each_container(all: &Manifests, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    each_pod(all, |pod| containers(pod).all(&holds))
}

fn name(object: &Value) -> String {
    format!("{} {}", object["kind"], object["metadata"]["name"])
}

/// How long a node may drain, as its source says.
fn drain_max_s() -> u64 {
    let source = std::fs::read_to_string(root().join("switch-node/src/node.rs")).expect("node.rs can be read");
    let seconds = source
        .split_once("const DRAIN_MAX: Duration = Duration::from_secs(")
        .and_then(|(_, rest)| rest.split_once(')'));
    let seconds = seconds.context("node.rs has no DRAIN_MAX in seconds").expect("the drain's bound");
    seconds.0.parse().expect("a number")
}
