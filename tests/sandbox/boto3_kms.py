"""What AWS documents of KMS and STS, asked by boto3 of the sandbox at SANDBOX_URL.

Plain assertions; prints how many checks there were and exits 0, or stops at the first that fails.
"""

import json
import os
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

URL = os.environ["SANDBOX_URL"]
REGION = "us-west-2"
VENDOR = "127450652264"
CUSTOMER = "123456789012"
checks = 0


def client(service, region=REGION, credentials=None):
    keys = credentials or {"AccessKeyId": "AKIATEST", "SecretAccessKey": "secret", "SessionToken": None}
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=Config(retries={"max_attempts": 0}, parameter_validation=False),
    )


def fails(code, call, message="", **arguments):
    global checks
    checks += 1
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{code} expected, got {found}"
        assert message in found.get("Message", ""), f"{message!r} expected in {found}"
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403), error.response
        return
    raise AssertionError(f"{code} expected, but the call succeeded")


def same(found, expected):
    global checks
    checks += 1
    assert found == expected, f"expected {expected!r}, found {found!r}"


kms, sts = client("kms"), client("sts")


def assume(account):
    arn = f"arn:aws:iam::{account}:role/admin"
    return sts.assume_role(RoleArn=arn, RoleSessionName="boto", ExternalId="abc")["Credentials"]


def new_key(of=kms, **arguments):
    return of.create_key(**arguments)["KeyMetadata"]["Arn"]


def sts_calls():
    same(sts.get_caller_identity()["Arn"], f"arn:aws:iam::{VENDOR}:root")
    customer = client("sts", credentials=assume(CUSTOMER))
    same(customer.get_caller_identity()["Arn"], f"arn:aws:sts::{CUSTOMER}:assumed-role/admin/boto")
    fails("ValidationError", sts.assume_role, RoleArn="arn:aws:iam::1:role/aaaaaaaaaa", RoleSessionName="ab")


def keys():
    data = kms.create_key(Description="d", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    arn = data["Arn"]
    same(data["KeyState"], "Enabled")
    same(data["EncryptionAlgorithms"], ["SYMMETRIC_DEFAULT"])
    same((data["KeyManager"], data["Origin"], data["MultiRegion"]), ("CUSTOMER", "AWS_KMS", False))
    same(len(data["CurrentKeyMaterialId"]), 64)
    same(kms.describe_key(KeyId=data["KeyId"])["KeyMetadata"], data)
    mrk = kms.create_key(MultiRegion=True)["KeyMetadata"]
    assert mrk["KeyId"].startswith("mrk-")
    same(mrk["MultiRegionConfiguration"]["MultiRegionKeyType"], "PRIMARY")
    fails("NotFoundException", kms.describe_key, "does not exist", KeyId=str(uuid.uuid4()))
    fails("NotFoundException", kms.describe_key, "Invalid keyId", KeyId="nonsense")
    fails("NotFoundException", client("kms", "us-east-1").describe_key, "Invalid arn us-west-2", KeyId=arn)
    fails("ValidationException", kms.describe_key, "1 validation error detected", KeyId="")
    fails("ValidationException", kms.create_key, "enum value set", KeySpec="AES")
    fails("ValidationException", kms.create_key, Description="x" * 8193)
    fails("ValidationException", kms.create_key, KeyUsage="GENERATE_VERIFY_MAC")
    fails("LimitExceededException", kms.create_key, Tags=[{"TagKey": str(n), "TagValue": ""} for n in range(51)])
    fails("TagException", kms.create_key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    kms.disable_key(KeyId=arn)
    same(kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"], "Disabled")
    fails("DisabledException", kms.encrypt, "is disabled", KeyId=arn, Plaintext=b"x")
    fails("DisabledException", kms.enable_key_rotation, KeyId=arn)
    kms.enable_key(KeyId=arn)
    fails("ValidationException", kms.schedule_key_deletion, KeyId=arn, PendingWindowInDays=6)
    fails("ValidationException", kms.schedule_key_deletion, KeyId=arn, PendingWindowInDays=31)
    same(kms.schedule_key_deletion(KeyId=arn)["PendingWindowInDays"], 30)
    fails("KMSInvalidStateException", kms.schedule_key_deletion, "is pending deletion", KeyId=arn)
    fails("KMSInvalidStateException", kms.encrypt, "is pending deletion", KeyId=arn, Plaintext=b"x")
    fails("KMSInvalidStateException", kms.enable_key, KeyId=arn)
    fails("KMSInvalidStateException", kms.tag_resource, KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "b"}])
    kms.cancel_key_deletion(KeyId=arn)
    same(kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"], "Disabled")
    fails("KMSInvalidStateException", kms.cancel_key_deletion, "is not pending deletion", KeyId=arn)
    arns = [key["KeyArn"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1})
            for key in page["Keys"]]
    same(len(arns), len(set(arns)))
    assert arn in arns and mrk["Arn"] in arns
    fails("InvalidMarkerException", kms.list_keys, Marker="nonsense")
    fails("ValidationException", kms.list_keys, Limit=0)


def policies():
    arn = new_key()
    same(kms.list_key_policies(KeyId=arn)["PolicyNames"], ["default"])
    policy = json.loads(kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
    same(policy["Statement"][0]["Action"], "kms:*")
    fails("NotFoundException", kms.get_key_policy, KeyId=arn, PolicyName="other")
    fails("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=arn, Policy="{")
    lockout = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": CUSTOMER},
                                                       "Action": "kms:*", "Resource": "*"}]}
    fails("MalformedPolicyDocumentException", kms.put_key_policy, "will not allow you to update the key policy",
          KeyId=arn, Policy=json.dumps(lockout))
    bad = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"},
                                                   "Action": "kms:*", "Resource": "*"}]}
    fails("MalformedPolicyDocumentException", kms.put_key_policy, "invalid principals", KeyId=arn,
          Policy=json.dumps(bad))
    kms.put_key_policy(KeyId=arn, Policy=json.dumps(lockout), BypassPolicyLockoutSafetyCheck=True)
    fails("AccessDeniedException", kms.describe_key, "is not authorized to perform: kms:DescribeKey", KeyId=arn)


def customer_key():
    customer = client("kms", credentials=assume(CUSTOMER))
    root = lambda account: {"AWS": f"arn:aws:iam::{account}:root"}
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": root(CUSTOMER), "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": root(VENDOR), "Resource": "*",
         "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]},
        {"Effect": "Allow", "Principal": root(VENDOR), "Resource": "*",
         "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
         "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}]}
    arn = new_key(customer, Policy=json.dumps(policy))
    same(kms.describe_key(KeyId=arn)["KeyMetadata"]["AWSAccountId"], CUSTOMER)
    own = new_key()
    sealed = kms.encrypt(KeyId=own, Plaintext=b"secret")["CiphertextBlob"]
    moved = kms.re_encrypt(CiphertextBlob=sealed, DestinationKeyId=arn, DestinationEncryptionContext={"a": "b"})
    same((moved["SourceKeyId"], moved["KeyId"]), (own, arn))
    same(kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"a": "b"})["Plaintext"], b"secret")
    principal = f"arn:aws:iam::{VENDOR}:root"
    fails("AccessDeniedException", kms.create_grant, KeyId=arn, GranteePrincipal=principal, Operations=["Decrypt"])
    fails("AccessDeniedException", kms.create_grant, KeyId=arn, GranteePrincipal=principal, Operations=["Decrypt"],
          DryRun=True)
    fails("AccessDeniedException", kms.list_grants, KeyId=arn)
    fails("AccessDeniedException", kms.put_key_policy, KeyId=arn, Policy=json.dumps(policy))
    fails("AccessDeniedException", kms.get_key_policy, KeyId=arn)
    closed = {**policy, "Statement": policy["Statement"][:1]}
    grant = customer.create_grant(KeyId=arn, GranteePrincipal=principal, Operations=["Decrypt", "DescribeKey"],
                                  Constraints={"EncryptionContextSubset": {"a": "b"}})
    customer.put_key_policy(KeyId=arn, Policy=json.dumps(closed))
    fails("AccessDeniedException", kms.encrypt, KeyId=arn, Plaintext=b"x")
    same(kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"a": "b"})["Plaintext"], b"secret")
    same([entry["GrantId"] for entry in customer.list_grants(KeyId=arn)["Grants"]], [grant["GrantId"]])
    customer.revoke_grant(KeyId=arn, GrantId=grant["GrantId"])
    fails("AccessDeniedException", kms.decrypt, CiphertextBlob=moved["CiphertextBlob"],
          EncryptionContext={"a": "b"})
    fails("NotFoundException", customer.revoke_grant, KeyId=arn, GrantId=grant["GrantId"])


def cryptography():
    arn, other = new_key(), new_key()
    sealed = kms.encrypt(KeyId=arn, Plaintext=b"x", EncryptionContext={"a": "1"})
    same((sealed["KeyId"], sealed["EncryptionAlgorithm"]), (arn, "SYMMETRIC_DEFAULT"))
    blob = sealed["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "1"})
    same((opened["Plaintext"], opened["KeyId"], len(opened["KeyMaterialId"])), (b"x", arn, 64))
    fails("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob)
    fails("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "2"})
    fails("InvalidCiphertextException", kms.decrypt, CiphertextBlob=b"nonsense")
    fails("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob[:-1] + b"!", EncryptionContext={"a": "1"})
    fails("IncorrectKeyException", kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "1"}, KeyId=other)
    fails("AccessDeniedException", client("kms", "us-east-1").decrypt, "does not exist in this region",
          CiphertextBlob=blob, EncryptionContext={"a": "1"})
    fails("ValidationException", kms.encrypt, KeyId=arn, Plaintext=b"x" * 4097)
    fails("ValidationException", kms.encrypt, KeyId=arn, Plaintext=b"")
    kms.encrypt(KeyId=arn, Plaintext=b"x" * 4096)
    key = kms.generate_data_key(KeyId=arn, KeySpec="AES_256")
    same(len(key["Plaintext"]), 32)
    same(kms.decrypt(CiphertextBlob=key["CiphertextBlob"])["Plaintext"], key["Plaintext"])
    same("Plaintext" in kms.generate_data_key_without_plaintext(KeyId=arn, NumberOfBytes=64), False)
    fails("ValidationException", kms.generate_data_key, KeyId=arn)
    fails("ValidationException", kms.generate_data_key, KeyId=arn, KeySpec="AES_256", NumberOfBytes=32)
    fails("ValidationException", kms.generate_data_key, KeyId=arn, NumberOfBytes=1025)
    same(len(kms.generate_random(NumberOfBytes=7)["Plaintext"]), 7)
    fails("DryRunOperationException", kms.encrypt, KeyId=arn, Plaintext=b"x", DryRun=True)
    fails("DryRunOperationException", kms.decrypt, KeyId=arn, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"])
    fails("IncorrectKeyException", kms.re_encrypt, CiphertextBlob=key["CiphertextBlob"], SourceKeyId=other,
          DestinationKeyId=arn)
    mac_key = new_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    mac = kms.generate_mac(KeyId=mac_key, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    same(kms.verify_mac(KeyId=mac_key, Message=b"m", MacAlgorithm="HMAC_SHA_256", Mac=mac)["MacValid"], True)
    fails("KMSInvalidMacException", kms.verify_mac, KeyId=mac_key, Message=b"n", MacAlgorithm="HMAC_SHA_256", Mac=mac)
    fails("InvalidKeyUsageException", kms.encrypt, KeyId=mac_key, Plaintext=b"x")
    fails("InvalidKeyUsageException", kms.generate_mac, KeyId=arn, Message=b"m", MacAlgorithm="HMAC_SHA_256")


def signing():
    for spec, algorithm in (("ECC_NIST_P256", "ECDSA_SHA_256"), ("RSA_2048", "RSASSA_PSS_SHA_256")):
        arn = new_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
        sent = {"KeyId": arn, "Message": b"m", "SigningAlgorithm": algorithm}
        signature = kms.sign(**sent)["Signature"]
        same(kms.verify(Signature=signature, **sent)["SignatureValid"], True)
        fails("KMSInvalidSignatureException", kms.verify, Signature=signature, **{**sent, "Message": b"n"})
        serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"])
        fails("InvalidKeyUsageException", kms.sign, **{**sent, "SigningAlgorithm": "ECDSA_SHA_512"})
        fails("InvalidKeyUsageException", kms.encrypt, KeyId=arn, Plaintext=b"x")
        fails("ValidationException", kms.sign, MessageType="DIGEST", **sent)
        fails("UnsupportedOperationException", kms.enable_key_rotation, KeyId=arn)
    own = new_key()
    fails("UnsupportedOperationException", kms.get_public_key, KeyId=own)
    fails("InvalidKeyUsageException", kms.sign, KeyId=own, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
    pair = kms.generate_data_key_pair(KeyId=own, KeyPairSpec="ECC_NIST_P256")
    opened = kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"]
    same(opened, pair["PrivateKeyPlaintext"])
    serialization.load_der_private_key(opened, None)


def aliases():
    arn, other = new_key(), new_key()
    name = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=name, TargetKeyId=arn)
    same(kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"], arn)
    alias_arn = arn.rsplit(":", 1)[0] + ":" + name
    same(kms.encrypt(KeyId=alias_arn, Plaintext=b"x")["KeyId"], arn)
    fails("AlreadyExistsException", kms.create_alias, alias_arn, AliasName=name, TargetKeyId=other)
    fails("NotAuthorizedException", kms.create_alias, AliasName="alias/aws/x", TargetKeyId=arn)
    fails("InvalidAliasNameException", kms.create_alias, AliasName="x", TargetKeyId=arn)
    fails("ValidationException", kms.create_alias, AliasName="alias/a b", TargetKeyId=arn)
    fails("ValidationException", kms.create_alias, AliasName=name + "2", TargetKeyId=name)
    fails("NotFoundException", kms.disable_key, KeyId=name)
    fails("NotFoundException", kms.describe_key, "is not found", KeyId="alias/none")
    kms.update_alias(AliasName=name, TargetKeyId=other)
    entry = kms.list_aliases(KeyId=other)["Aliases"][0]
    same((entry["AliasArn"], entry["TargetKeyId"]), (alias_arn, other.rsplit("/")[-1]))
    kms.delete_alias(AliasName=name)
    fails("NotFoundException", kms.delete_alias, AliasName=name)
    fails("NotFoundException", kms.update_alias, AliasName=name, TargetKeyId=arn)


def tags():
    arn = new_key()
    kms.tag_resource(KeyId=arn, Tags=[{"TagKey": str(n), "TagValue": "v"} for n in range(50)])
    fails("LimitExceededException", kms.tag_resource, KeyId=arn, Tags=[{"TagKey": "x", "TagValue": "v"}])
    first = kms.list_resource_tags(KeyId=arn, Limit=20)
    same((len(first["Tags"]), first["Truncated"]), (20, True))
    rest = kms.list_resource_tags(KeyId=arn, Marker=first["NextMarker"])
    same((len(rest["Tags"]), rest["Truncated"]), (30, False))
    kms.untag_resource(KeyId=arn, TagKeys=["1", "absent"])
    same(len(kms.list_resource_tags(KeyId=arn)["Tags"]), 49)
    fails("ValidationException", kms.tag_resource, KeyId=arn, Tags=[{"TagKey": "x" * 129, "TagValue": "v"}])


def grants():
    arn = new_key()
    role = f"arn:aws:iam::{CUSTOMER}:role/admin"
    arguments = {"KeyId": arn, "GranteePrincipal": role, "Operations": ["Encrypt"], "Name": "n"}
    first = kms.create_grant(**arguments)
    same(kms.create_grant(**arguments)["GrantId"], first["GrantId"])
    second = kms.create_grant(KeyId=arn, GranteePrincipal=role, RetiringPrincipal=role, Operations=["RetireGrant"])
    page = kms.list_grants(KeyId=arn, Limit=1)
    same((len(page["Grants"]), page["Truncated"]), (1, True))
    same(len(kms.list_grants(KeyId=arn, Marker=page["NextMarker"])["Grants"]), 1)
    entry = kms.list_grants(KeyId=arn, GrantId=first["GrantId"])["Grants"][0]
    same((entry["Name"], entry["GranteePrincipal"], entry["Operations"]), ("n", role, ["Encrypt"]))
    found = [g["GrantId"] for g in kms.list_retirable_grants(RetiringPrincipal=role)["Grants"]]
    assert second["GrantId"] in found and first["GrantId"] not in found
    customer = client("kms", credentials=assume(CUSTOMER))
    same(customer.encrypt(KeyId=arn, Plaintext=b"x")["KeyId"], arn)
    fails("AccessDeniedException", customer.retire_grant, KeyId=arn, GrantId=first["GrantId"])
    customer.retire_grant(GrantToken=second["GrantToken"])
    fails("DryRunOperationException", kms.revoke_grant, KeyId=arn, GrantId=first["GrantId"], DryRun=True)
    fails("DryRunOperationException", kms.create_grant, DryRun=True, **arguments)
    fails("ValidationException", kms.create_grant, KeyId=arn, GranteePrincipal=role, Operations=["Sign"])
    fails("ValidationException", kms.create_grant, KeyId=arn, GranteePrincipal=role, Operations=["Fly"])
    kms.disable_key(KeyId=arn)
    fails("DisabledException", kms.create_grant, **arguments)


def wrapped(parameters, material, hash_algorithm):
    public = serialization.load_der_public_key(parameters["PublicKey"])
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hash_algorithm), algorithm=hash_algorithm, label=None)
    return public.encrypt(material, oaep)


def imports():
    arn = new_key(Origin="EXTERNAL")
    same(kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"], "PendingImport")
    fails("KMSInvalidStateException", kms.encrypt, "is pending import", KeyId=arn, Plaintext=b"x")
    fails("UnsupportedOperationException", kms.get_parameters_for_import, KeyId=new_key(),
          WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
    fails("UnsupportedOperationException", kms.enable_key_rotation, KeyId=arn)

    def parameters(key=arn, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048"):
        return kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)

    def put(got, blob, key=arn, **arguments):
        arguments.setdefault("ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE")
        return kms.import_key_material(KeyId=key, ImportToken=got["ImportToken"], EncryptedKeyMaterial=blob,
                                       **arguments)

    material = os.urandom(32)
    got = parameters(spec="RSA_4096")
    fails("InvalidCiphertextException", put, got=got, blob=wrapped(got, material, hashes.SHA1()))
    good = wrapped(got, material, hashes.SHA256())
    fails("ValidationException", put, got=got, blob=good, ExpirationModel="KEY_MATERIAL_EXPIRES")
    fails("InvalidImportTokenException", put, got={"ImportToken": b"x"}, blob=good)
    fails("InvalidImportTokenException", put, got=parameters(new_key(Origin="EXTERNAL")), blob=good)
    fails("IncorrectKeyMaterialException", put, got=got, blob=wrapped(got, b"short", hashes.SHA256()))
    material_id = put(got, good)["KeyMaterialId"]
    data = kms.describe_key(KeyId=arn)["KeyMetadata"]
    same((data["KeyState"], data["ExpirationModel"]), ("Enabled", "KEY_MATERIAL_DOES_NOT_EXPIRE"))
    same(data["CurrentKeyMaterialId"], material_id)
    got = parameters(algorithm="RSAES_OAEP_SHA_1")
    again = wrapped(got, material, hashes.SHA1())
    same(put(got, again, ImportType="EXISTING_KEY_MATERIAL", KeyMaterialId=material_id)["KeyMaterialId"], material_id)
    fails("ValidationException", put, got=got, blob=again, ImportType="NEW_KEY_MATERIAL", KeyMaterialId=material_id)
    fails("IncorrectKeyMaterialException", put, got=got, blob=again, ImportType="NEW_KEY_MATERIAL")
    other = wrapped(got, os.urandom(32), hashes.SHA1())
    fails("IncorrectKeyMaterialException", put, got=got, blob=other)
    put(got, other, ImportType="NEW_KEY_MATERIAL")
    same(kms.list_key_rotations(KeyId=arn)["Rotations"], [])
    kms.rotate_key_on_demand(KeyId=arn)
    same([entry["KeyMaterialState"] for entry in kms.list_key_rotations(
        KeyId=arn, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]], ["NON_CURRENT", "CURRENT"])
    kms.delete_imported_key_material(KeyId=arn)
    same(kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"], "PendingImport")


def rotation():
    arn = new_key()
    same(kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"], False)
    kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=arn)
    same((status["KeyRotationEnabled"], status["RotationPeriodInDays"]), (True, 90))
    fails("ValidationException", kms.enable_key_rotation, KeyId=arn, RotationPeriodInDays=89)
    blob = kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=arn)
    same(kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")
    same([entry["RotationType"] for entry in kms.list_key_rotations(KeyId=arn)["Rotations"]], ["ON_DEMAND"])
    kms.disable_key_rotation(KeyId=arn)
    same(kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"], False)


for part in (sts_calls, keys, policies, customer_key, cryptography, signing, aliases, tags, grants, imports, rotation):
    part()
gov = client("kms", "us-gov-west-1")
assert new_key(gov).startswith(f"arn:aws-us-gov:kms:us-gov-west-1:{VENDOR}:key/")
print(f"{checks} checks agree with what AWS documents")
