//! The doors of a running node, all three of them: every method of every contract by every role, and every certificate that
//! must not come in.

use anyhow::{Context as _, ensure};
use switch_tests::{
    channel::{self, TlsFiles},
    eventually::eventually,
    harness::Node,
    pki::{Flaw, Issued, Plane},
    stage::{self, SOON},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{Request, Uri},
    transport::Channel,
};
use tower::ServiceExt as _;

use super::{
    bad_input::{knock, verifier},
    contracts::{self, Method},
};

/// A role: its door, its certificate, the package that it may call.
struct Caller {
    plane: Plane,
    package: &'static str,
    tls: TlsFiles,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_call_the_methods_of_its_contract_and_no_other() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let node = cluster.node(1);
    let peer = cluster.pki().peer("visitor", &["127.0.0.1"])?;
    let callers = [
        Caller {
            plane: Plane::Gateways,
            package: "payswitch.gateway.v1",
            tls: cluster.gateway_tls("shop").context("the shop")?.clone(),
        },
        Caller { plane: Plane::Peers, package: "payswitch.peer.v1", tls: cluster.pki().files(Plane::Peers, &peer) },
        Caller { plane: Plane::Operators, package: "payswitch.operator.v1", tls: cluster.operator_tls().clone() },
    ];
    let methods = contracts::methods()?;
    let mut wrong = Vec::new();
    for caller in &callers {
        let channel = channel::lazy(address(node, caller.plane), caller.tls.client()?)?;
        let (mut own, mut others) = (0, 0);
        for Method { package, name } in &methods {
            let path = &format!("/{package}.{name}");
            let said = call(&channel, address(node, caller.plane), path).await?;
            let (code, reason) = said.as_ref().map(stage::reason).unwrap_or((Code::Ok, String::new()));
            if package == caller.package {
                own += 1;
                // Without a message nothing is done: what matters is that somebody answers to the name.
                if [Code::PermissionDenied, Code::Unimplemented, Code::Unauthenticated].contains(&code) {
                    wrong.push(format!("{:?} calls {path} and is told {code:?} {reason}", caller.plane));
                }
            } else {
                others += 1;
                if (code, reason.as_str()) != (Code::PermissionDenied, "METHOD_NOT_ALLOWED") {
                    wrong.push(format!("{:?} calls {path} of {package} and is told {code:?} {reason}", caller.plane));
                }
            }
        }
        ensure!(own > 0 && others > 20, "{:?}: {own} methods of its own, {others} of others", caller.plane);
        let made_up = call(&channel, address(node, caller.plane), "/made.up.Service/Method").await?;
        ensure!(made_up.is_some_and(|status| status.code() == Code::PermissionDenied), "{:?}", caller.plane);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // All of it is counted, and the log says who it was.
    let (_, page) = node.page("/metrics").await?;
    for (plane, method, calls) in [
        ("gateway", "/payswitch.operator.v1.ClusterService/Bootstrap", 1),
        ("peer", "/payswitch.operator.v1.ClusterService/Bootstrap", 1),
        ("operator", "/payswitch.gateway.v1.AuthorizationService/Authorize", 1),
        // The made-up one, and the networks' own, which nobody may call here.
        ("gateway", "other", 2),
        ("peer", "other", 2),
        ("operator", "other", 2),
    ] {
        let name = "payswitch_rpc_requests_total";
        let line = format!("{name}{{plane=\"{plane}\",method=\"{method}\",code=\"PERMISSION_DENIED\"}} {calls}");
        ensure!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
    }
    let log = std::fs::read_to_string(node.log())?;
    for who in ["/gateway/shop", "/operator/"] {
        let named = |line: &str| line.contains("METHOD_NOT_ALLOWED") && line.contains(who);
        ensure!(log.lines().any(named), "nobody like {who} is denied in {}", node.log().display());
    }
    cluster.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_door_lets_a_certificate_in_that_is_not_good_for_it() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().revocable().start().await?;
    let (pki, node) = (cluster.pki(), cluster.node(2));
    let mut wrong = Vec::new();
    for plane in [Plane::Gateways, Plane::Peers, Plane::Operators] {
        let stem = format!("stranger-{plane:?}").to_lowercase();
        let flawed = |flaw| anyhow::Ok(Some(pki.flawed(plane, &stem, flaw)?));
        let good = match plane {
            Plane::Gateways => pki.gateway(&stem)?,
            Plane::Peers => pki.peer(&stem, &["127.0.0.1"])?,
            Plane::Operators | Plane::Networks => pki.operator(&stem)?,
        };
        let client = |own: Option<&Issued>| {
            let own = own.map(|own| pki.files(plane, own));
            channel::client_with(verifier(pki.root(plane))?, own.as_ref())
        };
        // Before it is revoked it comes in: what is refused below is refused for its flaw alone.
        let heard = knock(address(node, plane), client(Some(&good))?).await?;
        if heard != "served" {
            wrong.push(format!("{plane:?}: a good certificate hears {heard}"));
        }
        pki.revoke(plane, &good)?;
        eventually(SOON, "a revoked certificate is refused", || async {
            let heard = knock(address(node, plane), client(Some(&good))?).await?;
            ensure!(heard == "CertificateRevoked", "it hears {heard}");
            Ok(())
        })
        .await?;

        let mut strangers = vec![
            ("nobody", None, "CertificateRequired"),
            ("expired", flawed(Flaw::Expired)?, "CertificateExpired"),
            // rustls has one alert for both ends.
            ("not yet valid", flawed(Flaw::NotYetValid)?, "CertificateExpired"),
            ("self-signed", flawed(Flaw::SelfSigned)?, "UnknownCA"),
            ("another root of the same name", flawed(Flaw::OtherRoot)?, "DecryptError"),
            ("two URI names", flawed(Flaw::TwoUriNames)?, "closed"),
            ("no URI name", flawed(Flaw::NoUriName)?, "closed"),
        ];
        let others = [
            ("a gateway", Plane::Gateways, pki.gateway("visitor")?),
            ("a node", Plane::Peers, pki.peer("visitor", &["127.0.0.1"])?),
            ("an operator", Plane::Operators, pki.operator("visitor")?),
            ("a link", Plane::Networks, pki.link_client("visitor")?),
        ];
        strangers.extend(
            others.into_iter().filter(|(_, of, _)| *of != plane).map(|(who, _, own)| (who, Some(own), "UnknownCA")),
        );
        for (who, own, expected) in &strangers {
            let heard = knock(address(node, plane), client(own.as_ref())?).await?;
            if heard != *expected {
                wrong.push(format!("{plane:?}: {who} hears {heard} instead of {expected}"));
            }
        }
        let heard = knock_with_tls_1_2(address(node, plane)).await?;
        if heard != [ALERT, FATAL, PROTOCOL_VERSION] {
            wrong.push(format!("{plane:?}: TLS 1.2 hears {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cluster.close().await
}

fn address(node: &Node, plane: Plane) -> &str {
    match plane {
        Plane::Gateways => node.gateway_address(),
        Plane::Peers => node.peer_address(),
        Plane::Operators => node.operator_address(),
        Plane::Networks => unreachable!("a node has no door for networks"),
    }
}

/// Calls a method without a message. Gives the error, or nothing where a stream of answers begins.
async fn call(channel: &Channel, address: &str, path: &str) -> anyhow::Result<Option<Status>> {
    let uri: Uri = format!("https://{address}{path}").parse()?;
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let answered = channel.clone().oneshot(request.body(Body::empty())?);
    let answer = tokio::time::timeout(SOON, answered).await.with_context(|| format!("{path} does not answer"))??;
    Ok(Status::from_header_map(answer.headers()))
}

/// Says hello as a TLS 1.2 client does, three ECDHE suites and no supported_versions; gives the alert: its type, level and
/// description.
async fn knock_with_tls_1_2(address: &str) -> anyhow::Result<[u8; 3]> {
    let extensions: &[u8] = &[
        0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, // supported_groups: secp256r1
        0x00, 0x0b, 0x00, 0x02, 0x01, 0x00, // ec_point_formats: uncompressed
        0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04, // signature_algorithms
    ];
    let mut body = vec![0x03, 0x03];
    body.extend([0x5a; 32]);
    body.extend([0x00, 0x00, 0x06, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0x01, 0x00]);
    body.extend(u16::try_from(extensions.len())?.to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len())?;
    let mut hello = vec![0x16, 0x03, 0x01, 0x00, length + 4, 0x01, 0x00, 0x00, length];
    hello.extend(body);
    let heard = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&hello).await?;
        let mut alert = [0; 7];
        stream.read_exact(&mut alert).await?;
        anyhow::Ok([alert[0], alert[5], alert[6]])
    };
    tokio::time::timeout(SOON, heard).await.context("the door says nothing")?
}

const ALERT: u8 = 21;
const FATAL: u8 = 2;
const PROTOCOL_VERSION: u8 = 70;
