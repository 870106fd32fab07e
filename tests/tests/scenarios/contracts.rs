//! The contracts as they are described to whoever speaks them, so that no method is left out of a test for having come later.

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// A method of a contract.
pub(super) struct Method {
    /// Its contract, such as `payswitch.gateway.v1`.
    pub(super) package: String,
    /// Its service and its own name, such as `AuthorizationService/Authorize`.
    pub(super) name: String,
}

/// Every method of every contract.
pub(super) fn methods() -> anyhow::Result<Vec<Method>> {
    let mut methods = Vec::new();
    for file in files()?.file {
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| Method {
                package: file.package().to_owned(),
                name: format!("{}/{}", service.name(), method.name()),
            }));
        }
    }
    Ok(methods)
}

/// Every file of the contracts.
pub(super) fn files() -> anyhow::Result<FileDescriptorSet> {
    Ok(FileDescriptorSet::decode(switch_proto::DESCRIPTORS)?)
}
