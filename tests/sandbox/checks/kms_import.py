"""Imported key material, rotation and multi-Region keys of KMS."""

import datetime
import os

from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys

from frame import EAST, WEST, after, client, once, refused, says, until

kms, east = client("kms"), client("kms", EAST)
LASTS = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def key(by=kms, **arguments):
    return by.create_key(**{"Origin": "EXTERNAL", **arguments})["KeyMetadata"]["Arn"]


def describe(arn, by=kms):
    return by.describe_key(KeyId=arn)["KeyMetadata"]


def parameters(arn, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048", by=kms):
    return by.get_parameters_for_import(KeyId=arn, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)


def wrapped(given, material, hashed=hashes.SHA256):
    public = serialization.load_der_public_key(given["PublicKey"])
    return public.encrypt(material, padding.OAEP(padding.MGF1(hashed()), hashed(), None))


def put(arn, given, blob, by=kms, **arguments):
    return by.import_key_material(KeyId=arn, ImportToken=given["ImportToken"], EncryptedKeyMaterial=blob, **{**LASTS, **arguments})


def bring(arn, material, by=kms, **arguments):
    """Imports in one go."""
    given = parameters(arn, by=by)
    return put(arn, given, wrapped(given, material), by, **arguments)


def filled(**arguments):
    arn, material = key(), os.urandom(32)
    return arn, material, bring(arn, material, **arguments)


def now(by=kms):
    """The emulated cloud's time."""
    return by.create_key()["KeyMetadata"]["CreationDate"]


# Parameters
empty = once(key)
given = once(lambda: parameters(empty(), spec="RSA_4096"))
for spec, size in (("RSA_2048", 2048), ("RSA_3072", 3072), ("RSA_4096", 4096)):
    says(f"GetParametersForImport: {spec}", size, lambda: serialization.load_der_public_key(parameters(empty(), spec=spec)["PublicKey"]).key_size)
says("GetParametersForImport: KeyId is the ARN", True, lambda: given()["KeyId"] == empty())
says("GetParametersForImport: valid for 24 hours", True, lambda: abs((given()["ParametersValidTo"] - now()).total_seconds() - 86400) < 3600)
says("GetParametersForImport: every call has its own", True, lambda: (lambda ask: ask()["ImportToken"] != ask()["ImportToken"])(lambda: parameters(empty())))
says("GetParametersForImport: of a key with AWS's material", refused("UnsupportedOperationException"), lambda: parameters(key(Origin="AWS_KMS")))
says("GetParametersForImport: RSAES_PKCS1_V1_5 is no more", refused("UnsupportedOperationException"), lambda: parameters(empty(), "RSAES_PKCS1_V1_5"))
says("GetParametersForImport: an unknown algorithm", refused("ValidationException"), lambda: parameters(empty(), "NONE"))
says("GetParametersForImport: a private key of RSA does not fit into OAEP", refused("UnsupportedOperationException"), lambda: parameters(key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")))
says("GetParametersForImport: a key pending deletion", refused("KMSInvalidStateException"), lambda: (lambda arn: after(lambda: kms.schedule_key_deletion(KeyId=arn), lambda: parameters(arn)))(key()))
# The first import
first = once(filled)
says("ImportKeyMaterial: the key is Enabled", ("Enabled", "KEY_MATERIAL_DOES_NOT_EXPIRE", False), lambda: (lambda found: (found["KeyState"], found["ExpirationModel"], "ValidTo" in found))(describe(first()[0])))
says("ImportKeyMaterial: KeyMaterialId is the key's CurrentKeyMaterialId", True, lambda: describe(first()[0])["CurrentKeyMaterialId"] == first()[2]["KeyMaterialId"])
says("ImportKeyMaterial: KeyId is the ARN", True, lambda: first()[2]["KeyId"] == first()[0])
says("ImportKeyMaterial: the same bytes in another key have another id", True, lambda: bring(key(), first()[1])["KeyMaterialId"] != first()[2]["KeyMaterialId"])
says("ImportKeyMaterial: the key encrypts", b"x", lambda: kms.decrypt(CiphertextBlob=kms.encrypt(KeyId=first()[0], Plaintext=b"x")["CiphertextBlob"])["Plaintext"])
says("ImportKeyMaterial: OAEP with SHA-1", "Enabled", lambda: (lambda arn: (lambda given: after(lambda: put(arn, given, wrapped(given, os.urandom(32), hashes.SHA1)), lambda: describe(arn)["KeyState"]))(parameters(arn, "RSAES_OAEP_SHA_1")))(key()))
says("ImportKeyMaterial: wrapped with the wrong hash", refused("InvalidCiphertextException"), lambda: put(empty(), given(), wrapped(given(), os.urandom(32), hashes.SHA1)))
says("ImportKeyMaterial: wrapped with another key", refused("InvalidCiphertextException"), lambda: put(empty(), given(), wrapped(parameters(empty(), spec="RSA_4096"), os.urandom(32))))
says("ImportKeyMaterial: not wrapped at all", refused("InvalidCiphertextException"), lambda: put(empty(), given(), os.urandom(512)))
says("ImportKeyMaterial: a token that is none", refused("InvalidImportTokenException"), lambda: put(empty(), {"ImportToken": b"nonsense"}, wrapped(given(), os.urandom(32))))
says("ImportKeyMaterial: the token of another key", refused("InvalidImportTokenException"), lambda: (lambda other: put(empty(), other, wrapped(other, os.urandom(32))))(parameters(key())))
for length in (16, 31, 33):
    says(f"ImportKeyMaterial: {length} bytes", refused("IncorrectKeyMaterialException"), lambda: bring(empty(), os.urandom(length)))
says("ImportKeyMaterial: after all these failures the key still waits", "PendingImport", lambda: describe(empty())["KeyState"])
says("ImportKeyMaterial: into a key with AWS's material", refused("UnsupportedOperationException"), lambda: put(key(Origin="AWS_KMS"), given(), b"x"))
says("ImportKeyMaterial: into a disabled key", refused("KMSInvalidStateException"), lambda: (lambda made: after(lambda: kms.disable_key(KeyId=made[0]), lambda: bring(made[0], made[1])))(filled()))
says("ImportKeyMaterial: into a key pending deletion", refused("KMSInvalidStateException"), lambda: (lambda arn, given: after(lambda: kms.schedule_key_deletion(KeyId=arn), lambda: put(arn, given, wrapped(given, os.urandom(32)))))(*(lambda arn: (arn, parameters(arn)))(key())))
for spec, length, good in (("HMAC_224", 27, False), ("HMAC_224", 28, True), ("HMAC_256", 64, True), ("HMAC_256", 65, False), ("HMAC_512", 128, True), ("HMAC_512", 129, False)):
    says(f"ImportKeyMaterial: {length} bytes into {spec}", "Enabled" if good else refused("IncorrectKeyMaterialException"),
         lambda: (lambda arn: after(lambda: bring(arn, os.urandom(length)), lambda: describe(arn)["KeyState"]))(key(KeySpec=spec, KeyUsage="GENERATE_VERIFY_MAC")))
# Expiry
soon = lambda **span: now() + datetime.timedelta(**span)
expiring = once(lambda: (lambda at: (at, filled(ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=at)))(soon(days=30)))
says("ImportKeyMaterial: expiry is the default and needs ValidTo", refused("ValidationException"), lambda: (lambda given: kms.import_key_material(KeyId=empty(), ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped(given, os.urandom(32))))(parameters(empty())))
says("ImportKeyMaterial: KEY_MATERIAL_EXPIRES without ValidTo", refused("ValidationException"), lambda: bring(empty(), os.urandom(32), ExpirationModel="KEY_MATERIAL_EXPIRES"))
says("ImportKeyMaterial: ValidTo without expiry", refused("ValidationException"), lambda: bring(empty(), os.urandom(32), ValidTo=soon(days=1)))
says("ImportKeyMaterial: ValidTo in the past", refused("ValidationException"), lambda: bring(empty(), os.urandom(32), ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=soon(days=-1)))
says("ImportKeyMaterial: ValidTo in more than 365 days", refused("ValidationException"), lambda: bring(empty(), os.urandom(32), ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=soon(days=366)))
says("ImportKeyMaterial: ValidTo alone means expiry", "KEY_MATERIAL_EXPIRES", lambda: (lambda arn: (lambda given: after(lambda: kms.import_key_material(KeyId=arn, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped(given, os.urandom(32)), ValidTo=soon(days=1)), lambda: describe(arn)["ExpirationModel"]))(parameters(arn)))(key()))
says("DescribeKey: ValidTo", ("KEY_MATERIAL_EXPIRES", True), lambda: (lambda found: (found["ExpirationModel"], abs((found["ValidTo"] - expiring()[0]).total_seconds()) < 1))(describe(expiring()[1][0])))
says("ImportKeyMaterial: again without expiry ends it", "KEY_MATERIAL_DOES_NOT_EXPIRE", lambda: after(lambda: bring(expiring()[1][0], expiring()[1][1]), lambda: describe(expiring()[1][0])["ExpirationModel"]))
# Material that expires soon: with a sandbox whose clock runs 600 times as fast, minutes are moments.
brief = once(lambda: filled(ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=soon(minutes=60)))
says("Expired material: the key waits for it again", "PendingImport", lambda: after(brief, lambda: until(lambda: describe(brief()[0])["KeyState"], "PendingImport")))
says("Expired material: the same bytes bring it back", "Enabled", lambda: after(lambda: bring(brief()[0], brief()[1]), lambda: describe(brief()[0])["KeyState"]))
# Again
says("ImportKeyMaterial: the same material over a live key", True, lambda: bring(first()[0], first()[1])["KeyMaterialId"] == first()[2]["KeyMaterialId"])
says("ImportKeyMaterial: other material", refused("IncorrectKeyMaterialException"), lambda: bring(first()[0], os.urandom(32)))
says("ImportKeyMaterial: EXISTING with its id", True, lambda: bring(first()[0], first()[1], ImportType="EXISTING_KEY_MATERIAL", KeyMaterialId=first()[2]["KeyMaterialId"])["KeyMaterialId"] == first()[2]["KeyMaterialId"])
says("ImportKeyMaterial: EXISTING with another id", refused("IncorrectKeyMaterialException"), lambda: bring(first()[0], first()[1], ImportType="EXISTING_KEY_MATERIAL", KeyMaterialId="0" * 64))
says("ImportKeyMaterial: NEW with an id", refused("ValidationException"), lambda: bring(first()[0], os.urandom(32), ImportType="NEW_KEY_MATERIAL", KeyMaterialId="0" * 64))
says("ImportKeyMaterial: NEW with the same bytes", refused("IncorrectKeyMaterialException"), lambda: bring(first()[0], first()[1], ImportType="NEW_KEY_MATERIAL"))
says("ImportKeyMaterial: EXISTING into a key that never had any", refused("IncorrectKeyMaterialException"), lambda: bring(empty(), os.urandom(32), ImportType="EXISTING_KEY_MATERIAL"))
says("ReplicateKey: without tags it answers none", False, lambda: "ReplicaTags" in kms.replicate_key(KeyId=key(Origin="AWS_KMS", MultiRegion=True), ReplicaRegion=EAST))
# Deletion
gone = once(lambda: (lambda made: (made, kms.encrypt(KeyId=made[0], Plaintext=b"kept")["CiphertextBlob"], kms.delete_imported_key_material(KeyId=made[0])))(filled()))
says("DeleteImportedKeyMaterial: DescribeKey still names the material", True, lambda: describe(gone()[0][0])["CurrentKeyMaterialId"] == gone()[0][2]["KeyMaterialId"])
says("DeleteImportedKeyMaterial: answers key and material", True, lambda: (gone()[2]["KeyId"], gone()[2]["KeyMaterialId"]) == (gone()[0][0], gone()[0][2]["KeyMaterialId"]))
says("DeleteImportedKeyMaterial: the key waits for import", "PendingImport", lambda: after(gone, lambda: describe(gone()[0][0])["KeyState"]))
says("DeleteImportedKeyMaterial: no decryption any more", refused("KMSInvalidStateException", 400, "is pending import"), lambda: kms.decrypt(CiphertextBlob=gone()[1]))
says("DeleteImportedKeyMaterial: other bytes do not come in", refused("IncorrectKeyMaterialException"), lambda: bring(gone()[0][0], os.urandom(32)))
says("DeleteImportedKeyMaterial: the same bytes decrypt again", b"kept", lambda: after(lambda: bring(gone()[0][0], gone()[0][1]), lambda: kms.decrypt(CiphertextBlob=gone()[1])["Plaintext"]))
says("DeleteImportedKeyMaterial: of a key with AWS's material", refused("UnsupportedOperationException"), lambda: kms.delete_imported_key_material(KeyId=key(Origin="AWS_KMS")))
# Rotation of imported material
turned = once(lambda: (lambda made: (made, kms.encrypt(KeyId=made[0], Plaintext=b"old")["CiphertextBlob"], bring(made[0], os.urandom(32), ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="second")))(filled()))
rotations = lambda arn, **more: kms.list_key_rotations(KeyId=arn, **more)["Rotations"]
whole = lambda arn: rotations(arn, IncludeKeyMaterial="ALL_KEY_MATERIAL")
says("ImportKeyMaterial: NEW material waits for rotation", ["CURRENT", "PENDING_ROTATION"], lambda: [entry["KeyMaterialState"] for entry in whole(turned()[0][0])])
says("ImportKeyMaterial: the current one stays current", True, lambda: describe(turned()[0][0])["CurrentKeyMaterialId"] == turned()[0][2]["KeyMaterialId"])
says("ListKeyRotations: import state and description", ("IMPORTED", "second"), lambda: (lambda entry: (entry["ImportState"], entry["KeyMaterialDescription"]))(whole(turned()[0][0])[1]))
says("ListKeyRotations: nothing was rotated yet", [], lambda: rotations(turned()[0][0]))
says("RotateKeyOnDemand: the new one is current", ["NON_CURRENT", "CURRENT"], lambda: after(lambda: kms.rotate_key_on_demand(KeyId=turned()[0][0]), lambda: [entry["KeyMaterialState"] for entry in whole(turned()[0][0])]))
says("RotateKeyOnDemand: old ciphertexts open", b"old", lambda: kms.decrypt(CiphertextBlob=turned()[1])["Plaintext"])
says("RotateKeyOnDemand: ListKeyRotations has it", ["ON_DEMAND"], lambda: [entry["RotationType"] for entry in rotations(turned()[0][0])])
says("RotateKeyOnDemand: nothing waits", refused("KMSInvalidStateException"), lambda: kms.rotate_key_on_demand(KeyId=turned()[0][0]))
says("DeleteImportedKeyMaterial: one old material stops the key", "PendingImport", lambda: after(lambda: kms.delete_imported_key_material(KeyId=turned()[0][0], KeyMaterialId=turned()[0][2]["KeyMaterialId"]), lambda: describe(turned()[0][0])["KeyState"]))
says("EnableKeyRotation: of imported material", refused("UnsupportedOperationException"), lambda: kms.enable_key_rotation(KeyId=first()[0]))
# Pairs
says("ImportKeyMaterial: a private key of RSA by AES key wrap", True, lambda: (lambda arn, private, aes: (lambda given: after(
    lambda: put(arn, given, wrapped(given, aes) + keywrap.aes_key_wrap_with_padding(aes, private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))),
    lambda: serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"]) == private.public_key()))(parameters(arn, "RSA_AES_KEY_WRAP_SHA_256")))(
    key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY"), rsa_keys.generate_private_key(65537, 2048), os.urandom(32)))
says("ImportKeyMaterial: a private key of a curve by OAEP", True, lambda: (lambda arn, private: after(
    lambda: bring(arn, private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())),
    lambda: serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"]) == private.public_key()))(key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"), ec.generate_private_key(ec.SECP256R1())))
says("ImportKeyMaterial: a private key of another curve", refused("IncorrectKeyMaterialException"), lambda: bring(key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"), ec.generate_private_key(ec.SECP384R1()).private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())))
# Rotation of AWS's material
own = once(lambda: key(Origin="AWS_KMS"))
status = lambda arn: (lambda found: (found["KeyRotationEnabled"], found.get("RotationPeriodInDays"), "NextRotationDate" in found))(kms.get_key_rotation_status(KeyId=arn))
says("GetKeyRotationStatus: off at first", (False, None, False), lambda: status(own()))
says("EnableKeyRotation: every 365 days unless told", (True, 365, True), lambda: after(lambda: kms.enable_key_rotation(KeyId=own()), lambda: status(own())))
says("EnableKeyRotation: another period", (True, 90, True), lambda: after(lambda: kms.enable_key_rotation(KeyId=own(), RotationPeriodInDays=90), lambda: status(own())))
for days in (89, 2561):
    says(f"EnableKeyRotation: {days} days", refused("ValidationException"), lambda: kms.enable_key_rotation(KeyId=own(), RotationPeriodInDays=days))
says("DisableKeyRotation", False, lambda: after(lambda: kms.disable_key_rotation(KeyId=own()), lambda: status(own())[0]))
says("RotateKeyOnDemand: another material is current, old ciphertexts open", (True, b"x"), lambda: (lambda arn: (lambda blob, before: after(lambda: kms.rotate_key_on_demand(KeyId=arn), lambda: (
    describe(arn)["CurrentKeyMaterialId"] != before, kms.decrypt(CiphertextBlob=blob)["Plaintext"])))(kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"], describe(arn)["CurrentKeyMaterialId"]))(key(Origin="AWS_KMS")))
says("RotateKeyOnDemand: 25 times and no more", refused("LimitExceededException"), lambda: (lambda arn: after(lambda: [kms.rotate_key_on_demand(KeyId=arn) for _ in range(25)], lambda: kms.rotate_key_on_demand(KeyId=arn)))(key(Origin="AWS_KMS")))
says("RotateKeyOnDemand: of a disabled RSA key", refused("DisabledException"), lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: kms.rotate_key_on_demand(KeyId=arn)))(key(Origin="AWS_KMS", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")))
says("GetKeyRotationStatus: of a key pending deletion", (False, None, False), lambda: (lambda arn: after(lambda: kms.enable_key_rotation(KeyId=arn), lambda: kms.schedule_key_deletion(KeyId=arn), lambda: status(arn)))(key(Origin="AWS_KMS")))
says("RotateKeyOnDemand: of an HMAC key", refused("UnsupportedOperationException"), lambda: kms.rotate_key_on_demand(KeyId=key(Origin="AWS_KMS", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")))
# Multi-Region keys
there = lambda arn: arn.replace(WEST, EAST)
ready = lambda arn, wanted="Enabled": until(lambda: describe(there(arn), east)["KeyState"], wanted)


@once
def pair():
    arn = key(Origin="AWS_KMS", MultiRegion=True)
    answer = kms.replicate_key(KeyId=arn, ReplicaRegion=EAST, Description="far", Tags=[{"TagKey": "a", "TagValue": "1"}])
    return arn, answer, ready(arn)


says("ReplicateKey: the same key id in another region", True, lambda: pair()[1]["ReplicaKeyMetadata"]["Arn"] == there(pair()[0]))
says("ReplicateKey: it is Creating first", "Creating", lambda: pair()[1]["ReplicaKeyMetadata"]["KeyState"])
says("ReplicateKey: it is a REPLICA of its primary", ("REPLICA", WEST, [EAST]), lambda: (lambda found: (found["MultiRegionKeyType"], found["PrimaryKey"]["Region"], [entry["Region"] for entry in found["ReplicaKeys"]]))(describe(there(pair()[0]), east)["MultiRegionConfiguration"]))
says("ReplicateKey: tags are answered", [{"TagKey": "a", "TagValue": "1"}], lambda: pair()[1]["ReplicaTags"])
says("ReplicateKey: a ciphertext of one region opens in the other", b"x", lambda: after(pair, lambda: east.decrypt(CiphertextBlob=kms.encrypt(KeyId=pair()[0], Plaintext=b"x")["CiphertextBlob"])["Plaintext"]))
says("ReplicateKey: twice into one region", refused("AlreadyExistsException"), lambda: kms.replicate_key(KeyId=pair()[0], ReplicaRegion=EAST))
says("ReplicateKey: of a replica", refused("UnsupportedOperationException"), lambda: after(pair, lambda: east.replicate_key(KeyId=there(pair()[0]), ReplicaRegion="eu-west-1")))
says("ReplicateKey: of a key of one region", refused("UnsupportedOperationException"), lambda: kms.replicate_key(KeyId=own(), ReplicaRegion=EAST))
says("EnableKeyRotation: a replica follows its primary", True, lambda: after(pair, lambda: kms.enable_key_rotation(KeyId=pair()[0]), lambda: east.get_key_rotation_status(KeyId=there(pair()[0]))["KeyRotationEnabled"]))
says("EnableKeyRotation: of a replica", refused("UnsupportedOperationException"), lambda: after(pair, lambda: east.enable_key_rotation(KeyId=there(pair()[0]))))
says("DisableKey: each for itself", ("Disabled", "Enabled"), lambda: (lambda arn: after(lambda: kms.replicate_key(KeyId=arn, ReplicaRegion=EAST), lambda: ready(arn), lambda: kms.disable_key(KeyId=arn), lambda: (describe(arn)["KeyState"], describe(there(arn), east)["KeyState"])))(key(Origin="AWS_KMS", MultiRegion=True)))
says("ScheduleKeyDeletion: a primary waits for its replicas", ("PendingReplicaDeletion", False, 7), lambda: (lambda arn: after(lambda: kms.replicate_key(KeyId=arn, ReplicaRegion=EAST), lambda: kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7),
    lambda: (lambda found: (found["KeyState"], "DeletionDate" in found, found["PendingDeletionWindowInDays"]))(describe(arn))))(key(Origin="AWS_KMS", MultiRegion=True)))
says("UpdatePrimaryRegion: they change places", ("REPLICA", "PRIMARY"), lambda: (lambda arn: after(lambda: kms.replicate_key(KeyId=arn, ReplicaRegion=EAST), lambda: ready(arn), lambda: kms.update_primary_region(KeyId=arn, PrimaryRegion=EAST),
    lambda: (describe(arn)["MultiRegionConfiguration"]["MultiRegionKeyType"], describe(there(arn), east)["MultiRegionConfiguration"]["MultiRegionKeyType"])))(key(Origin="AWS_KMS", MultiRegion=True)))
says("UpdatePrimaryRegion: where there is no replica", refused("NotFoundException"), lambda: kms.update_primary_region(KeyId=pair()[0], PrimaryRegion="eu-west-1"))
says("UpdatePrimaryRegion: of a key of one region", refused("UnsupportedOperationException"), lambda: kms.update_primary_region(KeyId=own(), PrimaryRegion=EAST))


@once
def imported():
    arn, material = key(MultiRegion=True), os.urandom(32)
    bring(arn, material)
    kms.replicate_key(KeyId=arn, ReplicaRegion=EAST)
    return arn, material, ready(arn, "PendingImport")


says("ReplicateKey: imported material does not travel", "PendingImport", lambda: imported()[2])
says("ReplicateKey: other material does not come into the replica", refused("IncorrectKeyMaterialException"), lambda: after(imported, lambda: bring(there(imported()[0]), os.urandom(32), east)))
says("ReplicateKey: the same does, and has the same id", True, lambda: after(imported, lambda: bring(there(imported()[0]), imported()[1], east)["KeyMaterialId"] == describe(imported()[0])["CurrentKeyMaterialId"]))
newer = once(lambda: (lambda material: (material, bring(imported()[0], material, ImportType="NEW_KEY_MATERIAL")))(os.urandom(32)))
says("ImportKeyMaterial: NEW into a replica", refused("UnsupportedOperationException"), lambda: bring(there(imported()[0]), os.urandom(32), east, ImportType="NEW_KEY_MATERIAL"))
says("ImportKeyMaterial: NEW into the primary waits for the replicas", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION", lambda: after(newer, lambda: whole(imported()[0])[1]["KeyMaterialState"]))
says("ImportKeyMaterial: and then for rotation", "PENDING_ROTATION", lambda: after(newer, lambda: bring(there(imported()[0]), newer()[0], east, ImportType="EXISTING_KEY_MATERIAL"), lambda: whole(imported()[0])[1]["KeyMaterialState"]))
says("RotateKeyOnDemand: the replica's current material is the primary's", True, lambda: after(newer, lambda: kms.rotate_key_on_demand(KeyId=imported()[0]), lambda: describe(there(imported()[0]), east)["CurrentKeyMaterialId"] == newer()[1]["KeyMaterialId"]))
