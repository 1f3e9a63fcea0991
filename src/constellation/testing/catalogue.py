"""The fake's rules of what is configured: functions, schedules, keys, tenants and namespaces."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from constellation.base.errors import AlreadyExists, InvalidRequest, NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.routes.models import access as a
from constellation.routes.models import functions as f
from constellation.routes.models import ingress as g
from constellation.routes.models import schedules as s
from constellation.routes.models import slos as slo
from constellation.routes.models import urls as u
from constellation.testing.building import Building
from constellation.testing.state import EXTENSIONS, Asked, Entry, decoded


class Catalogue(Building):
    """Each method is an operation of the registry."""

    # --- functions

    def create_function(self, asked: Asked) -> f.FunctionBody:
        wanted: f.FunctionCreate = asked.body
        key = (*asked.scope, wanted.name)
        if wanted.runtime not in EXTENSIONS:
            raise InvalidRequest(f"unknown runtime {wanted.runtime!r}", field="runtime")
        if key in self.functions:
            raise AlreadyExists("function", wanted.name)
        files = _files(wanted, wanted.runtime)
        facts = {name: getattr(wanted, name) for name in f.FunctionBody.__struct_fields__ if hasattr(wanted, name)}
        facts["handler"] = wanted.handler or "main.handler"
        now = datetime.now(UTC)
        body = f.FunctionBody(
            **facts,
            id=uuid7(),
            tenant=asked.scope[0],
            namespace=asked.scope[1],
            code_version=0,
            code_hash=_hash(files),
            version=1,
            created_at=now,
            updated_at=now,
        )
        entry = self.functions[key] = Entry(body=body, files=files)
        self.deployed(entry, version=1)
        return entry.body

    def list_functions(self, asked: Asked) -> list[f.FunctionBody]:
        found = [entry.body for key, entry in sorted(self.functions.items()) if key[:2] == asked.scope]
        search, runtime = asked.query.get("search", ""), asked.query.get("runtime")
        return [body for body in found if search in body.name and runtime in (None, body.runtime)]

    def get_function(self, asked: Asked) -> f.FunctionBody:
        return self.entry(asked).body

    def update_function(self, asked: Asked) -> f.FunctionBody:
        changes: f.FunctionUpdate = asked.body
        body = self.entry(asked).body
        if changes.version not in (msgspec.UNSET, body.version):
            raise VersionConflict("function", body.name)
        facts = {
            name: value
            for name in changes.__struct_fields__
            if (value := getattr(changes, name)) is not msgspec.UNSET
            and name not in ("version", "name", "code", "files")
        }
        return self._change(asked, facts, changes)

    def put_code(self, asked: Asked) -> f.FunctionBody:
        facts = {} if asked.body.handler is msgspec.UNSET else {"handler": asked.body.handler}
        return self._change(asked, facts, asked.body)

    def _change(self, asked: Asked, facts: dict[str, Any], code: Any) -> f.FunctionBody:
        entry = self.entry(asked)
        if code is not None and (code.code is not msgspec.UNSET or code.files is not msgspec.UNSET):
            files = _files(code, entry.body.runtime)
            if files != entry.files:
                entry.files = files
                facts["code_hash"] = _hash(files)
                self.deployed(entry, version=(entry.body.pending_version or entry.body.code_version) + 1)
        facts |= {"version": entry.body.version + 1, "updated_at": datetime.now(UTC)}
        entry.body = msgspec.structs.replace(entry.body, **facts)
        return entry.body

    def delete_function(self, asked: Asked) -> f.Deleted:
        self.entry(asked)
        del self.functions[(*asked.scope, asked.name)]
        return f.Deleted(status="deleted", name=asked.name)

    def get_code(self, asked: Asked) -> f.CodeBody:
        entry = self.entry(asked)
        body = entry.body
        return f.CodeBody(
            function_id=body.id, code_version=body.code_version, code_hash=body.code_hash, files=entry.files
        )

    def get_capacity(self, asked: Asked) -> f.CapacityPolicyBody:
        return self.entry(asked).body.capacity

    def put_capacity(self, asked: Asked) -> f.CapacityPolicyBody:
        return self._change(asked, {"capacity": asked.body}, None).capacity

    def delete_capacity(self, asked: Asked) -> f.CapacityPolicyBody:
        return self._change(asked, {"capacity": f.CapacityPolicyBody()}, None).capacity

    def get_function_url(self, asked: Asked) -> u.FunctionUrlBody:
        self.entry(asked)
        return self.urls.get((*asked.scope, asked.name), _url(asked, u.FunctionUrlSettings()))

    def put_function_url(self, asked: Asked) -> u.FunctionUrlBody:
        self.entry(asked)
        self.urls[*asked.scope, asked.name] = made = _url(asked, asked.body)
        return made

    def delete_function_url(self, asked: Asked) -> u.FunctionUrlBody:
        self.urls.pop((*asked.scope, asked.name), None)
        return self.get_function_url(asked)

    def get_ingress(self, asked: Asked) -> g.IngressPolicyBody:
        self.entry(asked)
        return self.ingress.get((*asked.scope, asked.name), g.IngressPolicyBody())

    def put_ingress(self, asked: Asked) -> g.IngressPolicyBody:
        self.entry(asked)
        made: g.IngressPolicyBody = asked.body
        self.ingress[*asked.scope, asked.name] = made
        return made

    def delete_ingress(self, asked: Asked) -> g.IngressPolicyBody:
        self.ingress.pop((*asked.scope, asked.name), None)
        return self.get_ingress(asked)

    def get_slo(self, asked: Asked) -> slo.SloPolicyBody:
        self.entry(asked)
        return self.slos.get((*asked.scope, asked.name), slo.SloPolicyBody(enabled=False))

    def put_slo(self, asked: Asked) -> slo.SloPolicyBody:
        self.entry(asked)
        made: slo.SloPolicyBody = asked.body
        self.slos[*asked.scope, asked.name] = made
        return made

    def delete_slo(self, asked: Asked) -> slo.SloPolicyBody:
        self.slos.pop((*asked.scope, asked.name), None)
        return self.get_slo(asked)

    # --- schedules

    def create_schedule(self, asked: Asked) -> s.ScheduleBody:
        self.entry(asked)
        wanted: s.ScheduleCreate = asked.body
        if not wanted.cron.startswith("@") and len(wanted.cron.split()) != 5:
            raise InvalidRequest(f"{wanted.cron!r} is not a cron expression", field="cron")
        made = s.ScheduleBody(
            id=uuid7(),
            tenant=asked.scope[0],
            namespace=asked.scope[1],
            function=asked.name,
            cron=wanted.cron,
            time_zone=wanted.time_zone,
            input=decoded(wanted.input),
            enabled=wanted.enabled,
            next_run_at=None,
            last_run_at=None,
            last_invocation_id=None,
            qualifier=wanted.qualifier,
            created_at=datetime.now(UTC),
        )
        self.schedules[made.id] = made
        return made

    def list_schedules(self, asked: Asked) -> list[s.ScheduleBody]:
        return [each for each in self.schedules.values() if (each.tenant, each.namespace) == asked.scope]

    def list_function_schedules(self, asked: Asked) -> list[s.ScheduleBody]:
        self.entry(asked)
        return [each for each in self.list_schedules(asked) if each.function == asked.name]

    def _schedule(self, asked: Asked) -> s.ScheduleBody:
        found = self.schedules.get(UUID(asked.params["id"]))
        if found is None or found.function != asked.name:
            raise NotFound("schedule", asked.params["id"])
        return found

    def update_schedule(self, asked: Asked) -> s.ScheduleBody:
        found, changes = self._schedule(asked), asked.body
        given = {name: getattr(changes, name) for name in changes.__struct_fields__}
        facts = {name: decoded(value) for name, value in given.items() if value is not msgspec.UNSET}
        self.schedules[found.id] = msgspec.structs.replace(found, **facts)
        return self.schedules[found.id]

    def delete_schedule(self, asked: Asked) -> f.Deleted:
        found = self._schedule(asked)
        del self.schedules[found.id]
        return f.Deleted(status="deleted", name=str(found.id))

    # --- keys, tenants, namespaces

    def create_apikey(self, asked: Asked) -> a.ApiKeyCreated:
        wanted: a.ApiKeyCreate = asked.body
        if wanted.name in self.keys:
            raise AlreadyExists("key", wanted.name)
        namespace = asked.scope[1] if wanted.namespace is msgspec.UNSET else wanted.namespace
        facts: dict[str, Any] = {
            "name": wanted.name,
            "tenant": asked.scope[0],
            "namespace": namespace,
            "role": "operator" if wanted.role is msgspec.UNSET else wanted.role,
            "rate_per_s": wanted.rate_per_s,
            "burst": wanted.burst,
        }
        now = datetime.now(UTC)
        self.keys[wanted.name] = a.ApiKeyBody(**facts, is_platform=False, enabled=True, expires_at=None, created_at=now)
        return a.ApiKeyCreated(**facts, expires_at=None, key=f"sk_{wanted.name}_once")

    def list_apikeys(self, _: Asked) -> list[a.ApiKeyBody]:
        return list(self.keys.values())

    def _key(self, asked: Asked) -> a.ApiKeyBody:
        if asked.name not in self.keys:
            raise NotFound("key", asked.name)
        return self.keys[asked.name]

    def update_apikey(self, asked: Asked) -> a.ApiKeyBody:
        given = {name: getattr(asked.body, name) for name in asked.body.__struct_fields__}
        facts = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        self.keys[asked.name] = msgspec.structs.replace(self._key(asked), **facts)
        return self.keys[asked.name]

    def delete_apikey(self, asked: Asked) -> f.Deleted:
        self._key(asked)
        del self.keys[asked.name]
        return f.Deleted(status="deleted", name=asked.name)

    def _tenant(self, tenant: str) -> a.TenantBody:
        if tenant not in self.tenants:
            raise NotFound("tenant", tenant)
        now = datetime.now(UTC)
        status = "suspended" if tenant in self.suspended else "active"
        tier = self.tiers.get(tenant, "standard")
        return a.TenantBody(id=tenant, name=tenant, status=status, tier=tier, created_at=now, updated_at=now)

    def list_tenants(self, _: Asked) -> list[a.TenantBody]:
        return [self._tenant(tenant) for tenant in self.tenants]

    def create_tenant(self, asked: Asked) -> a.TenantBody:
        if asked.body.id in self.tenants:
            raise AlreadyExists("tenant", asked.body.id)
        self.tenants[asked.body.id] = ["default"]
        return self._tenant(asked.body.id)

    def update_tenant(self, asked: Asked) -> a.TenantBody:
        tenant = self._tenant(asked.params["tenant"]).id
        if asked.body.tier is not msgspec.UNSET:
            self.tiers[tenant] = asked.body.tier
        (self.suspended.add if asked.body.status == "suspended" else self.suspended.discard)(tenant)
        return self._tenant(tenant)

    def delete_tenant(self, asked: Asked) -> f.Deleted:
        tenant = self._tenant(asked.params["tenant"]).id
        del self.tenants[tenant]
        return f.Deleted(status="deleted", name=tenant)

    def list_namespaces(self, asked: Asked) -> list[a.NamespaceBody]:
        tenant = self._tenant(asked.params["tenant"]).id
        return [_namespace(tenant, name) for name in self.tenants[tenant]]

    def create_namespace(self, asked: Asked) -> a.NamespaceBody:
        tenant = self._tenant(asked.params["tenant"]).id
        self.tenants[tenant].append(asked.body.name)
        return _namespace(tenant, asked.body.name)

    def delete_namespace(self, asked: Asked) -> f.Deleted:
        tenant, name = self._tenant(asked.params["tenant"]).id, asked.params["namespace"]
        if name not in self.tenants[tenant]:
            raise NotFound("namespace", name)
        self.tenants[tenant].remove(name)
        return f.Deleted(status="deleted", name=name)


def _files(code: Any, runtime: str) -> dict[str, str]:
    if code.files is not msgspec.UNSET:
        return dict(sorted(code.files.items()))
    if code.code is msgspec.UNSET:
        raise InvalidRequest("give code or files", field="code")
    return {f"main{EXTENSIONS[runtime]}": b64encode(code.code.encode()).decode()}


def _url(asked: Asked, given: u.FunctionUrlSettings) -> u.FunctionUrlBody:
    path = "/".join(("/url", *asked.scope, asked.name))
    return u.FunctionUrlBody(
        path=path, enabled=given.enabled, auth=given.auth, invoke_mode=given.invoke_mode, cors=given.cors
    )


def _hash(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _namespace(tenant: str, name: str) -> a.NamespaceBody:
    return a.NamespaceBody(tenant=tenant, name=name, created_at=datetime.now(UTC))
