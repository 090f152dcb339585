"""Cryptography of KMS: encryption, data keys, signatures, shared secrets, MACs, dry runs."""

import hashlib
import os

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from frame import EAST, after, client, once, refused, says

kms = client("kms")


def key(**arguments):
    return kms.create_key(**arguments)["KeyMetadata"]["Arn"]


def dry(arn):
    try:
        kms.encrypt(KeyId=arn, Plaintext=os.urandom(1), DryRun=True)
    except kms.exceptions.DryRunOperationException:
        return False
    return True


one, other = once(key), once(key)
rsa = once(lambda: key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"))


def message_of(ask):
    """The members of a KMS error's own shape, without its code: one without a message has none."""
    try:
        ask()
    except ClientError as error:
        return tuple(sorted(set(error.response) - {"Error", "ResponseMetadata"}))


mac_key = once(lambda: key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"))
CONTEXT = {"purpose": "checks", "Enterprise": "dave"}
sealed = once(lambda: kms.encrypt(KeyId=one(), Plaintext=b"secret", EncryptionContext=CONTEXT))
blob = lambda: sealed()["CiphertextBlob"]

# Symmetric
says("Encrypt: members", True, lambda: (sealed()["KeyId"], sealed()["EncryptionAlgorithm"]) == (one(), "SYMMETRIC_DEFAULT"))
opened = once(lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT))
says("Decrypt: plaintext", b"secret", lambda: opened()["Plaintext"])
says("Decrypt: the key is found by the ciphertext", True, lambda: opened()["KeyId"] == one())
says("Decrypt: KeyMaterialId", True, lambda: opened()["KeyMaterialId"] == kms.describe_key(KeyId=one())["KeyMetadata"]["CurrentKeyMaterialId"])
says("Encrypt: twice is not the same", True, lambda: kms.encrypt(KeyId=one(), Plaintext=b"x")["CiphertextBlob"] != kms.encrypt(KeyId=one(), Plaintext=b"x")["CiphertextBlob"])
for name, context in {"no context": {}, "another value": {**CONTEXT, "purpose": "x"}, "a part of the context": {"purpose": "checks"},
                      "more context": {**CONTEXT, "x": "y"}, "a name in another case": {"purpose": "checks", "enterprise": "dave"}}.items():
    says(f"Decrypt: {name}", refused("InvalidCiphertextException"), lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=context))
says("Decrypt: the order of the context does not matter", b"secret",
     lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=dict(reversed(CONTEXT.items())))["Plaintext"])
says("Decrypt: nonsense", refused("InvalidCiphertextException"), lambda: kms.decrypt(CiphertextBlob=b"nonsense"))
says("Decrypt: the last byte changed", refused("InvalidCiphertextException"),
     lambda: kms.decrypt(CiphertextBlob=blob()[:-1] + bytes([blob()[-1] ^ 1]), EncryptionContext=CONTEXT))
says("Decrypt: another key named", refused("IncorrectKeyException"), lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT, KeyId=other()))
says("Decrypt: its key named", b"secret", lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT, KeyId=one())["Plaintext"])
says("Decrypt: in another region", refused("AccessDeniedException"), lambda: client("kms", EAST).decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT))
says("Decrypt: with a disabled key", refused("DisabledException"),
     lambda: (lambda arn: (lambda made: after(lambda: kms.disable_key(KeyId=arn), lambda: kms.decrypt(CiphertextBlob=made)))(kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]))(key()))
says("Decrypt: with a key pending deletion", refused("KMSInvalidStateException"),
     lambda: (lambda arn: (lambda made: after(lambda: kms.schedule_key_deletion(KeyId=arn), lambda: kms.decrypt(CiphertextBlob=made)))(kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]))(key()))
says("Encrypt: 4096 bytes", True, lambda: len(kms.encrypt(KeyId=one(), Plaintext=b"x" * 4096)["CiphertextBlob"]) > 4096)
says("Encrypt: 4097 bytes", refused("ValidationException", 400, "Value at 'plaintext' failed to satisfy constraint"), lambda: kms.encrypt(KeyId=one(), Plaintext=b"x" * 4097))
says("Encrypt: nothing", refused("ValidationException"), lambda: kms.encrypt(KeyId=one(), Plaintext=b""))
says("Encrypt: an algorithm of RSA", refused("InvalidKeyUsageException"), lambda: kms.encrypt(KeyId=one(), Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256"))
says("Decrypt: with an HMAC key", refused("IncorrectKeyException"), lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT, KeyId=mac_key()))
says("ReEncrypt: from an HMAC key", refused("IncorrectKeyException"), lambda: kms.re_encrypt(CiphertextBlob=blob(), SourceKeyId=mac_key(), SourceEncryptionContext=CONTEXT, DestinationKeyId=other()))
says("ReEncrypt: to an HMAC key", refused("InvalidKeyUsageException"), lambda: kms.re_encrypt(CiphertextBlob=blob(), SourceEncryptionContext=CONTEXT, DestinationKeyId=mac_key()))
says("Decrypt: with a signing key", refused("InvalidKeyUsageException"), lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT, KeyId=key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")))
says("Decrypt: 6145 bytes", refused("ValidationException", 400, "at 'ciphertextBlob'"), lambda: kms.decrypt(CiphertextBlob=b"x" * 6145))
says("Decrypt: an empty ciphertext", refused("ValidationException", 400, "at 'ciphertextBlob'"), lambda: kms.decrypt(CiphertextBlob=b""))
says("Decrypt: an error without a message", (), lambda: message_of(lambda: kms.decrypt(CiphertextBlob=b"nonsense")))
says("GenerateMac: a message of 4097 bytes", refused("ValidationException", 400, "Value at 'message'"), lambda: kms.generate_mac(KeyId=mac_key(), Message=b"x" * 4097, MacAlgorithm="HMAC_SHA_256"))
says("Encrypt: a grant token that is empty", refused("ValidationException"), lambda: kms.encrypt(KeyId=one(), Plaintext=b"x", GrantTokens=[""]))
says("GenerateRandom: no length", refused("ValidationException", 400, "NumberOfBytes is required."), lambda: kms.generate_random())
says("Encrypt: with an HMAC key", refused("InvalidKeyUsageException"), lambda: kms.encrypt(KeyId=mac_key(), Plaintext=b"x"))
says("Encrypt: a grant token that is none", refused("InvalidGrantTokenException"), lambda: kms.encrypt(KeyId=one(), Plaintext=b"x", GrantTokens=["nonsense"]))
# ReEncrypt
moved = once(lambda: kms.re_encrypt(CiphertextBlob=blob(), SourceEncryptionContext=CONTEXT, DestinationKeyId=other(), DestinationEncryptionContext={"n": "1"}))
says("ReEncrypt: keys", True, lambda: (moved()["SourceKeyId"], moved()["KeyId"]) == (one(), other()))
says("ReEncrypt: materials", True, lambda: moved()["SourceKeyMaterialId"] != moved()["DestinationKeyMaterialId"])
says("ReEncrypt: the new ciphertext opens in its own context", b"secret", lambda: kms.decrypt(CiphertextBlob=moved()["CiphertextBlob"], EncryptionContext={"n": "1"})["Plaintext"])
says("ReEncrypt: not in the old one", refused("InvalidCiphertextException"), lambda: kms.decrypt(CiphertextBlob=moved()["CiphertextBlob"], EncryptionContext=CONTEXT))
says("ReEncrypt: the source's context has to be right", refused("InvalidCiphertextException"), lambda: kms.re_encrypt(CiphertextBlob=blob(), DestinationKeyId=other()))
says("ReEncrypt: another source named", refused("IncorrectKeyException"), lambda: kms.re_encrypt(CiphertextBlob=blob(), SourceKeyId=other(), SourceEncryptionContext=CONTEXT, DestinationKeyId=other()))
# Data keys
data_key = once(lambda: kms.generate_data_key(KeyId=one(), KeySpec="AES_256", EncryptionContext=CONTEXT))
says("GenerateDataKey: AES_256 has 32 bytes", 32, lambda: len(data_key()["Plaintext"]))
says("GenerateDataKey: AES_128 has 16", 16, lambda: len(kms.generate_data_key(KeyId=one(), KeySpec="AES_128")["Plaintext"]))
says("GenerateDataKey: as many bytes as asked for", 100, lambda: len(kms.generate_data_key(KeyId=one(), NumberOfBytes=100)["Plaintext"]))
says("GenerateDataKey: the ciphertext is its plaintext's", True, lambda: kms.decrypt(CiphertextBlob=data_key()["CiphertextBlob"], EncryptionContext=CONTEXT)["Plaintext"] == data_key()["Plaintext"])
says("GenerateDataKey: the ciphertext is bound to its context", refused("InvalidCiphertextException"), lambda: kms.decrypt(CiphertextBlob=data_key()["CiphertextBlob"]))
says("GenerateDataKey: KeyMaterialId", 64, lambda: len(data_key()["KeyMaterialId"]))
says("GenerateDataKey: neither spec nor length", refused("ValidationException"), lambda: kms.generate_data_key(KeyId=one()))
says("GenerateDataKey: both", refused("ValidationException"), lambda: kms.generate_data_key(KeyId=one(), KeySpec="AES_256", NumberOfBytes=32))
says("GenerateDataKey: 1025 bytes", refused("ValidationException"), lambda: kms.generate_data_key(KeyId=one(), NumberOfBytes=1025))
says("GenerateDataKey: with an asymmetric key", refused("InvalidKeyUsageException"), lambda: kms.generate_data_key(KeyId=rsa(), KeySpec="AES_256"))
says("GenerateDataKeyWithoutPlaintext has none", False, lambda: "Plaintext" in kms.generate_data_key_without_plaintext(KeyId=one(), KeySpec="AES_256"))
for spec in ("RSA_2048", "ECC_NIST_P384", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"):
    says(f"GenerateDataKeyPair: {spec}", True, lambda: (lambda pair: after(
        lambda: serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None), lambda: serialization.load_der_public_key(pair["PublicKey"]),
        lambda: kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]))(kms.generate_data_key_pair(KeyId=one(), KeyPairSpec=spec)))
says("GenerateDataKeyPairWithoutPlaintext has none", (False, "ECC_NIST_P256"),
     lambda: (lambda pair: ("PrivateKeyPlaintext" in pair, pair["KeyPairSpec"]))(kms.generate_data_key_pair_without_plaintext(KeyId=one(), KeyPairSpec="ECC_NIST_P256")))
says("GenerateRandom", 7, lambda: len(kms.generate_random(NumberOfBytes=7)["Plaintext"]))
says("GenerateRandom: 1025 bytes", refused("ValidationException"), lambda: kms.generate_random(NumberOfBytes=1025))
says("GenerateRandom: a custom key store that is not there", refused("CustomKeyStoreNotFoundException"), lambda: kms.generate_random(NumberOfBytes=7, CustomKeyStoreId="cks-1234567890abcdef0"))
# RSA
for algorithm, longest in (("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)):
    says(f"Encrypt: RSA_2048 with {algorithm}, {longest} bytes", b"x" * longest,
         lambda: kms.decrypt(KeyId=rsa(), EncryptionAlgorithm=algorithm, CiphertextBlob=kms.encrypt(KeyId=rsa(), EncryptionAlgorithm=algorithm, Plaintext=b"x" * longest)["CiphertextBlob"])["Plaintext"])
    says(f"Encrypt: RSA_2048 with {algorithm}, one more", refused("ValidationException"), lambda: kms.encrypt(KeyId=rsa(), EncryptionAlgorithm=algorithm, Plaintext=b"x" * (longest + 1)))
says("Decrypt: what was encrypted outside with GetPublicKey", b"outside", lambda: kms.decrypt(
    KeyId=rsa(), EncryptionAlgorithm="RSAES_OAEP_SHA_256",
    CiphertextBlob=serialization.load_der_public_key(kms.get_public_key(KeyId=rsa())["PublicKey"]).encrypt(b"outside", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)))["Plaintext"])
says("Encrypt: an RSA key has no default algorithm", refused("InvalidKeyUsageException"), lambda: kms.encrypt(KeyId=rsa(), Plaintext=b"x"))
says("Encrypt: RSA knows no context", refused("ValidationException"), lambda: kms.encrypt(KeyId=rsa(), Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256", EncryptionContext={"a": "1"}))
says("Decrypt: the wrong algorithm", refused("InvalidCiphertextException"), lambda: kms.decrypt(
    KeyId=rsa(), EncryptionAlgorithm="RSAES_OAEP_SHA_1", CiphertextBlob=kms.encrypt(KeyId=rsa(), EncryptionAlgorithm="RSAES_OAEP_SHA_256", Plaintext=b"x")["CiphertextBlob"]))
# Signatures
signing = once(lambda: key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"))
SIGNERS = {"RSA_2048": "RSASSA_PSS_SHA_256", "RSA_3072": "RSASSA_PKCS1_V1_5_SHA_512", "ECC_NIST_P256": "ECDSA_SHA_256", "ECC_NIST_P384": "ECDSA_SHA_384",
           "ECC_NIST_P521": "ECDSA_SHA_512", "ECC_SECG_P256K1": "ECDSA_SHA_256", "ECC_NIST_EDWARDS25519": "ED25519_SHA_512", "ML_DSA_44": "ML_DSA_SHAKE_256"}
for spec, algorithm in SIGNERS.items():
    signer = once(lambda spec=spec: key(KeySpec=spec, KeyUsage="SIGN_VERIFY"))
    sign = lambda signer=signer, algorithm=algorithm, **more: kms.sign(**{"KeyId": signer(), "Message": b"m", "SigningAlgorithm": algorithm, **more})
    says(f"Verify: {spec}'s signature", (True, algorithm),
         lambda: (lambda found: (found["SignatureValid"], found["SigningAlgorithm"]))(kms.verify(KeyId=signer(), Message=b"m", SigningAlgorithm=algorithm, Signature=sign()["Signature"])))
    says(f"Verify: {spec}, another message", refused("KMSInvalidSignatureException"), lambda: kms.verify(KeyId=signer(), Message=b"n", SigningAlgorithm=algorithm, Signature=sign()["Signature"]))
says("Verify: outside with GetPublicKey", None, lambda: (lambda arn: serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"]).verify(
    kms.sign(KeyId=arn, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"], b"m", ec.ECDSA(hashes.SHA256())))(signing()))
says("Sign: a digest is the message's", True, lambda: kms.verify(KeyId=signing(), Message=b"m", SigningAlgorithm="ECDSA_SHA_256", Signature=kms.sign(
    KeyId=signing(), Message=hashlib.sha256(b"m").digest(), MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")["Signature"])["SignatureValid"])
says("Sign: a digest of the wrong length", refused("ValidationException"), lambda: kms.sign(KeyId=signing(), Message=b"m", MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"))
says("Sign: another curve's algorithm", refused("InvalidKeyUsageException"), lambda: kms.sign(KeyId=signing(), Message=b"m", SigningAlgorithm="ECDSA_SHA_512"))
says("Sign: with an encryption key", refused("InvalidKeyUsageException"), lambda: kms.sign(KeyId=one(), Message=b"m", SigningAlgorithm="ECDSA_SHA_256"))
says("Sign: 4097 bytes", refused("ValidationException"), lambda: kms.sign(KeyId=signing(), Message=b"x" * 4097, SigningAlgorithm="ECDSA_SHA_256"))
says("GetPublicKey: members", ("SIGN_VERIFY", "ECC_NIST_P256", ["ECDSA_SHA_256"]), lambda: (lambda found: (found["KeyUsage"], found["KeySpec"], found["SigningAlgorithms"]))(kms.get_public_key(KeyId=signing())))
says("GetPublicKey: of a symmetric key", refused("UnsupportedOperationException"), lambda: kms.get_public_key(KeyId=one()))
says("EnableKeyRotation: of an asymmetric key", refused("UnsupportedOperationException"), lambda: kms.enable_key_rotation(KeyId=signing()))
# Shared secrets
agreeing = once(lambda: key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT"))
peer = once(lambda: ec.generate_private_key(ec.SECP256R1()))
public = lambda private: private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
derive = lambda **more: kms.derive_shared_secret(**{"KeyId": agreeing(), "KeyAgreementAlgorithm": "ECDH", "PublicKey": public(peer()), **more})
says("DeriveSharedSecret: both sides have the same", True, lambda: derive()["SharedSecret"] == peer().exchange(ec.ECDH(), serialization.load_der_public_key(kms.get_public_key(KeyId=agreeing())["PublicKey"])))
says("DeriveSharedSecret: members", ("ECDH", "AWS_KMS"), lambda: (lambda found: (found["KeyAgreementAlgorithm"], found["KeyOrigin"]))(derive()))
says("DeriveSharedSecret: a key of another curve", refused("ValidationException"), lambda: derive(PublicKey=public(ec.generate_private_key(ec.SECP384R1()))))
says("DeriveSharedSecret: with a signing key", refused("InvalidKeyUsageException"), lambda: derive(KeyId=signing()))
capsule = once(lambda: key(KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE"))
says("Decapsulate: the secret that Encapsulate gave", (True, 32), lambda: (lambda made: (
    kms.decapsulate(KeyId=capsule(), EncapsulationAlgorithm="ML_KEM", SharedSecretCiphertextBlob=made["SharedSecretCiphertextBlob"])["SharedSecret"] == made["SharedSecret"],
    len(made["SharedSecret"])))(kms.encapsulate(KeyId=capsule(), EncapsulationAlgorithm="ML_KEM")))
says("Decapsulate: a ciphertext of the wrong length", refused("InvalidCiphertextException"), lambda: kms.decapsulate(KeyId=capsule(), EncapsulationAlgorithm="ML_KEM", SharedSecretCiphertextBlob=b"x"))
# MACs
mac = once(lambda: kms.generate_mac(KeyId=mac_key(), Message=b"m", MacAlgorithm="HMAC_SHA_256"))
says("GenerateMac: length and algorithm", (32, "HMAC_SHA_256"), lambda: (len(mac()["Mac"]), mac()["MacAlgorithm"]))
says("VerifyMac", True, lambda: kms.verify_mac(KeyId=mac_key(), Message=b"m", MacAlgorithm="HMAC_SHA_256", Mac=mac()["Mac"])["MacValid"])
says("VerifyMac: another message", refused("KMSInvalidMacException"), lambda: kms.verify_mac(KeyId=mac_key(), Message=b"n", MacAlgorithm="HMAC_SHA_256", Mac=mac()["Mac"]))
says("GenerateMac: an algorithm of another size", refused("InvalidKeyUsageException"), lambda: kms.generate_mac(KeyId=mac_key(), Message=b"m", MacAlgorithm="HMAC_SHA_512"))
says("GenerateMac: with an encryption key", refused("InvalidKeyUsageException"), lambda: kms.generate_mac(KeyId=one(), Message=b"m", MacAlgorithm="HMAC_SHA_256"))
# Dry runs
DRY = {
    "Encrypt": lambda: kms.encrypt(KeyId=one(), Plaintext=b"x", DryRun=True), "Decrypt": lambda: kms.decrypt(CiphertextBlob=blob(), EncryptionContext=CONTEXT, DryRun=True),
    "ReEncrypt": lambda: kms.re_encrypt(CiphertextBlob=blob(), SourceEncryptionContext=CONTEXT, DestinationKeyId=other(), DryRun=True),
    "GenerateDataKey": lambda: kms.generate_data_key(KeyId=one(), KeySpec="AES_256", DryRun=True),
    "GenerateDataKeyWithoutPlaintext": lambda: kms.generate_data_key_without_plaintext(KeyId=one(), KeySpec="AES_256", DryRun=True),
    "GenerateDataKeyPair": lambda: kms.generate_data_key_pair(KeyId=one(), KeyPairSpec="RSA_2048", DryRun=True),
    "Sign": lambda: kms.sign(KeyId=signing(), Message=b"m", SigningAlgorithm="ECDSA_SHA_256", DryRun=True),
    "GenerateMac": lambda: kms.generate_mac(KeyId=mac_key(), Message=b"m", MacAlgorithm="HMAC_SHA_256", DryRun=True),
    "VerifyMac": lambda: kms.verify_mac(KeyId=mac_key(), Message=b"m", MacAlgorithm="HMAC_SHA_256", Mac=mac()["Mac"], DryRun=True),
    "DeriveSharedSecret": lambda: derive(DryRun=True),
    "Decrypt, the ciphertext ignored": lambda: kms.decrypt(KeyId=one(), DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]),
    "ReEncrypt, the ciphertext ignored": lambda: kms.re_encrypt(SourceKeyId=one(), DestinationKeyId=other(), DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]),
}
for name, ask in DRY.items():
    says(f"DryRun: {name}", refused("DryRunOperationException"), ask)
says("DryRun: bad input is still bad", refused("ValidationException"), lambda: kms.encrypt(KeyId=one(), Plaintext=b"", DryRun=True))
says("DryRun: modifiers without DryRun", refused("ValidationException"), lambda: kms.decrypt(KeyId=one(), DryRunModifiers=["IGNORE_CIPHERTEXT"]))
says("DryRun: a disabled key is still disabled", refused("DisabledException"), lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: kms.encrypt(KeyId=arn, Plaintext=b"x", DryRun=True)))(key()))
# Last use
used = once(lambda: (lambda arn: after(lambda: kms.encrypt(KeyId=arn, Plaintext=b"x"), lambda: kms.get_key_last_usage(KeyId=arn)))(key()))
says("GetKeyLastUsage: nothing yet", {}, lambda: kms.get_key_last_usage(KeyId=key())["KeyLastUsage"])
says("GetKeyLastUsage: operation and event", ("Encrypt", True), lambda: (lambda found: (found["Operation"], "CloudTrailEventId" in found and "Timestamp" in found))(used()["KeyLastUsage"]))
says("GetKeyLastUsage: a dry run is no use", {}, lambda: (lambda arn: kms.get_key_last_usage(KeyId=arn)["KeyLastUsage"] if not dry(arn) else None)(key()))
