"""A gateway that seals card data, written from the contract's text with pyhpke and nothing of the switch."""

import json
import sys

import grpc
from payswitch.gateway.v1 import authorization_service_pb2 as pb
from payswitch.gateway.v1 import authorization_service_pb2_grpc as rpc
from payswitch.gateway.v1 import card_pb2, key_service_pb2, key_service_pb2_grpc, transaction_pb2
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
INFO = b"payswitch.gateway.v1.SealedCard"


def seal(card, key, gateway_id, method, request_id):
    """The card, sealed for one request of one gateway."""
    parts = [text.encode("ascii") for text in (gateway_id, method, request_id)]
    aad = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    enc, context = SUITE.create_sender_context(SUITE.kem.deserialize_public_key(key.public_key), info=INFO)
    ciphertext = context.seal(card.SerializeToString(), aad)
    return card_pb2.Card(sealed={"key_id": key.key_id, "encapsulated_key": enc, "ciphertext": ciphertext})


folder = sys.argv[1]
with open(f"{folder}/context.json", encoding="utf-8") as file:
    context = json.load(file)
tls = []
for name in ("roots", "key", "certificate"):
    with open(context["gateways"]["shop"][name], "rb") as file:
        tls.append(file.read())
channels = [grpc.secure_channel(node, grpc.ssl_channel_credentials(*tls)) for node in context["gateways_at"]]
nodes = [rpc.AuthorizationServiceStub(channel) for channel in channels]

listed = key_service_pb2_grpc.KeyServiceStub(channels[0]).ListSealingKeys(
    key_service_pb2.ListSealingKeysRequest(), timeout=10
)
key = listed.keys[0]
assert key.algorithm == key_service_pb2.SEALING_ALGORITHM_HPKE_X25519_HKDF_SHA256_AES_256_GCM, key.algorithm
number = "4242" * 4
clear = card_pb2.Card(keyed={"primary_account_number": number, "expiry": {"month": 11, "year": 2039}})
merchant = {
    "merchant_id": "SHOP-1",
    "category_code": "5999",
    "name": "Corner shop",
    "city": "Bern",
    "country_code": "CH",
    "terminal_id": "T1",
}


def payment(request_id, card):
    """A payment of 12.50 euros."""
    amount = {"minor_units": 1250, "currency_code": "EUR"}
    return pb.AuthorizeRequest(request_id=request_id, amount=amount, card=card, merchant=merchant)


own = seal(clear, key, listed.gateway_id, "Authorize", "python-1")
first = nodes[0].Authorize(payment("python-1", own), timeout=10).result
print(transaction_pb2.Decision.Name(first.outcome.decision))
again = nodes[1].Authorize(payment("python-1", clear), timeout=10).result
print("the same payment in the clear:", "replayed" if again.replayed else "paid twice")

check = pb.VerifyCardRequest(
    request_id="python-2",
    currency_code="EUR",
    card=seal(clear, key, listed.gateway_id, "VerifyCard", "python-2"),
    merchant=merchant,
)
print(transaction_pb2.Decision.Name(nodes[2].VerifyCard(check, timeout=10).result.outcome.decision))

moved = {
    "another request_id": payment("python-3", own),
    "another gateway": payment("python-4", seal(clear, key, "market", "Authorize", "python-4")),
    "another method": payment("python-5", seal(clear, key, listed.gateway_id, "VerifyCard", "python-5")),
}
for what, request in moved.items():
    for node in nodes:
        try:
            node.Authorize(request, timeout=10)
            print(what, "is taken")
        except grpc.RpcError as error:
            print(what, error.code().name)
