"""Prints the YAML documents of a file as one JSON list.

With --kubernetes, each is checked first, strictly, against the schemas of these Kubernetes versions:

    manifests.py [--kubernetes VERSION,VERSION] FILE
"""

import argparse
import json
import sys

import yaml

# Kinds of others, whose schemas Kubernetes does not bring.
FOREIGN = {"Certificate", "PodMonitor", "PrometheusRule", "ServiceMonitor"}


def faults(manifest, versions):
    import kubernetes_validate

    for version in versions:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError as fault:
            if manifest["kind"] not in FOREIGN:
                yield f"{version}: {fault}"
        except kubernetes_validate.ValidationError as fault:
            yield f"{version}: at {'/'.join(map(str, fault.path))}: {fault.message}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubernetes", default="")
    parser.add_argument("file")
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        manifests = [manifest for manifest in yaml.safe_load_all(file) if manifest]
    versions = [version for version in arguments.kubernetes.split(",") if version]
    found = [
        f"{manifest['kind']} {manifest['metadata']['name']}, {fault}"
        for manifest in manifests
        if versions
        for fault in faults(manifest, versions)
    ]
    if found:
        sys.exit("\n".join(found))
    json.dump(manifests, sys.stdout)


main()
