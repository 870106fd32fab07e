//! The contracts of the payment switch, one module a package: who speaks it decides which certificate may.
//!
//! | package | spoken by |
//! |---|---|
//! | [`gateway::v1`] | payment gateways to any node |
//! | [`network::v1`] | the switch to a card network's gRPC adapter |
//! | [`operator::v1`] | operators to any node |
//! | [`peer::v1`] | nodes of one cluster among themselves |
//! | [`journal::v1`] | nobody: the bytes of the journal and of the table on disk |

mod opaque;

/// The descriptors of every contract, a serialized `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($name:ident, $package:literal, $doc:literal) => {
        #[doc = $doc]
        #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)] // generated code
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(gateway, "payswitch.gateway.v1", "What payment gateways ask.");
package!(network, "payswitch.network.v1", "What card networks are asked.");
package!(operator, "payswitch.operator.v1", "What operators ask.");
package!(peer, "payswitch.peer.v1", "What nodes ask each other.");
package!(journal, "payswitch.journal.v1", "What is on disk.");
