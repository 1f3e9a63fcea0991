"""The methods that `Client` and `AsyncClient` share: one table, typed for both by descriptors.

A method here is a function that builds a `Call`; what is done with it depends on the client it is asked of: `Client`
returns the answer, `AsyncClient` something to await.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Generic, ParamSpec, TypeVar, overload

from constellation.client import (
    ai_calls,
    audit_calls,
    calls,
    database_calls,
    docs_calls,
    entrances,
    executions,
    figures,
    layer_calls,
    notification_calls,
    people_calls,
    quota_calls,
    secret_calls,
    setting_calls,
    slo_calls,
    topics,
    versions,
    volume_calls,
)
from constellation.client import gateway_calls as gateway
from constellation.client import sandbox_calls as boxes
from constellation.client.call import Call
from constellation.client.sandbox_streams import bytes_reader, exec_reader
from constellation.client.streams import Reader, ai_reader, build_reader, log_reader, notification_reader, piece_reader
from constellation.routes.models.paging import Page

P = ParamSpec("P")
T = TypeVar("T")


class Sender(ABC):
    """A client that blocks."""

    @abstractmethod
    def send(self, call: Call[T]) -> T: ...
    @abstractmethod
    def pages(self, call: Call[Page[T]]) -> Iterator[T]: ...
    @abstractmethod
    def stream(self, call: Call[Any], reader: Reader[T]) -> AbstractContextManager[Iterator[T]]: ...


class AsyncSender(ABC):
    """A client that awaits."""

    @abstractmethod
    async def send(self, call: Call[T]) -> T: ...
    @abstractmethod
    def pages(self, call: Call[Page[T]]) -> AsyncIterator[T]: ...
    @abstractmethod
    def stream(self, call: Call[Any], reader: Reader[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...


class Operation(Generic[P, T]):
    """One request, one answer."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self.build = build

    @overload
    def __get__(self, client: None, owner: type) -> Operation[P, T]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Sender | AsyncSender | None, owner: type) -> Any:
        return self if client is None else _bound(self.build, client.send)


class Listing(Generic[P, T]):
    """A list, iterated over its pages; each page is asked for when the one before is used up."""

    def __init__(self, build: Callable[P, Call[Page[T]]]) -> None:
        self.build = build

    @overload
    def __get__(self, client: None, owner: type) -> Listing[P, T]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Sender | AsyncSender | None, owner: type) -> Any:
        return self if client is None else _bound(self.build, client.pages)


class Streaming(Generic[P, T]):
    """An answer in pieces: a context manager whose value is iterated; leaving it closes the connection."""

    def __init__(self, build: Callable[P, Call[Any]], reader: Reader[T]) -> None:
        self.build, self.reader = build, reader

    @overload
    def __get__(self, client: None, owner: type) -> Streaming[P, T]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, AbstractContextManager[Iterator[T]]]: ...
    @overload
    def __get__(
        self, client: AsyncSender, owner: type
    ) -> Callable[P, AbstractAsyncContextManager[AsyncIterator[T]]]: ...
    def __get__(self, client: Sender | AsyncSender | None, owner: type) -> Any:
        if client is None:
            return self
        return _bound(self.build, functools.partial(client.stream, reader=self.reader))


def _bound(build: Callable[..., Call[Any]], act: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def method(*args: Any, **kwargs: Any) -> Any:
        return act(build(*args, **kwargs))

    return method


class Operations:
    """Named as the registry names them; arguments and meaning stand in `calls`."""

    health = Operation(calls.health)
    health_ready = Operation(calls.health_ready)
    openapi = Operation(calls.openapi)
    whoami = Operation(calls.whoami)
    stats = Operation(calls.stats)
    list_backends = Operation(calls.list_backends)
    list_runtimes = Listing(calls.list_runtimes)

    create_function = Operation(calls.create_function)
    list_functions = Listing(calls.list_functions)
    get_function = Operation(calls.get_function)
    update_function = Operation(calls.update_function)
    delete_function = Operation(calls.delete_function)
    get_code = Operation(calls.get_code)
    list_files = Listing(calls.list_files)
    put_code = Operation(calls.put_code)
    get_capacity = Operation(calls.get_capacity)
    put_capacity = Operation(calls.put_capacity)
    delete_capacity = Operation(calls.delete_capacity)
    get_function_url = Operation(entrances.get_function_url)
    put_function_url = Operation(entrances.put_function_url)
    delete_function_url = Operation(entrances.delete_function_url)
    get_docs = Operation(docs_calls.get_docs)
    put_docs = Operation(docs_calls.put_docs)
    delete_docs = Operation(docs_calls.delete_docs)
    create_share = Operation(docs_calls.create_share)
    list_shares = Listing(docs_calls.list_shares)
    delete_share = Operation(docs_calls.delete_share)
    read_shared_docs = Operation(docs_calls.read_shared_docs)
    get_ingress = Operation(entrances.get_ingress)
    put_ingress = Operation(entrances.put_ingress)
    delete_ingress = Operation(entrances.delete_ingress)
    get_slo = Operation(slo_calls.get_slo)
    put_slo = Operation(slo_calls.put_slo)
    delete_slo = Operation(slo_calls.delete_slo)
    slo_status = Operation(slo_calls.slo_status)

    list_function_builds = Listing(calls.list_function_builds)
    retry_build = Operation(calls.retry_build)
    get_build = Operation(calls.get_build)
    build_log = Streaming(calls.build_log, build_reader)
    cancel_build = Operation(calls.cancel_build)

    create_schedule = Operation(calls.create_schedule)
    list_function_schedules = Listing(calls.list_function_schedules)
    list_schedules = Listing(calls.list_schedules)
    update_schedule = Operation(calls.update_schedule)
    delete_schedule = Operation(calls.delete_schedule)

    list_audit = Listing(audit_calls.list_audit)

    create_layer = Operation(layer_calls.create_layer)
    put_layer = Operation(layer_calls.put_layer)
    list_layers = Listing(layer_calls.list_layers)
    get_layer = Operation(layer_calls.get_layer)
    list_layer_versions = Listing(layer_calls.list_layer_versions)
    list_layer_files = Listing(layer_calls.list_layer_files)
    list_layer_functions = Listing(layer_calls.list_layer_functions)
    delete_layer = Operation(layer_calls.delete_layer)
    create_volume = Operation(volume_calls.create_volume)
    list_volumes = Listing(volume_calls.list_volumes)
    get_volume = Operation(volume_calls.get_volume)
    update_volume = Operation(volume_calls.update_volume)
    delete_volume = Operation(volume_calls.delete_volume)
    create_secret = Operation(secret_calls.create_secret)
    put_secret = Operation(secret_calls.put_secret)
    list_secrets = Listing(secret_calls.list_secrets)
    get_secret = Operation(secret_calls.get_secret)
    delete_secret = Operation(secret_calls.delete_secret)
    list_master_keys = Listing(secret_calls.list_master_keys)
    rotate_master_key = Operation(secret_calls.rotate_master_key)

    list_settings = Listing(setting_calls.list_settings)
    get_setting = Operation(setting_calls.get_setting)
    put_setting = Operation(setting_calls.put_setting)
    unset_setting = Operation(setting_calls.unset_setting)
    list_setting_changes = Listing(setting_calls.list_setting_changes)
    revert_setting = Operation(setting_calls.revert_setting)
    list_quotas = Listing(quota_calls.list_quotas)
    put_quota = Operation(quota_calls.put_quota)
    delete_quota = Operation(quota_calls.delete_quota)
    list_usage = Listing(quota_calls.list_usage)
    list_tiers = Listing(quota_calls.list_tiers)
    put_tier = Operation(quota_calls.put_tier)
    delete_tier = Operation(quota_calls.delete_tier)

    list_notifications = Listing(notification_calls.list_notifications)
    unread_notifications = Operation(notification_calls.unread_notifications)
    follow_notifications = Streaming(notification_calls.follow_notifications, notification_reader)
    read_notification = Operation(notification_calls.read_notification)
    read_all_notifications = Operation(notification_calls.read_all_notifications)
    create_database = Operation(database_calls.create_database)
    list_databases = Listing(database_calls.list_databases)
    get_database = Operation(database_calls.get_database)
    update_database = Operation(database_calls.update_database)
    delete_database = Operation(database_calls.delete_database)
    list_database_requests = Listing(database_calls.list_database_requests)

    ai_status = Operation(ai_calls.ai_status)
    ai_generate = Streaming(ai_calls.ai_generate, ai_reader)
    ai_review = Streaming(ai_calls.ai_review, ai_reader)
    ai_explain = Streaming(ai_calls.ai_explain, ai_reader)
    ai_analyze = Streaming(ai_calls.ai_analyze, ai_reader)
    ai_tests = Streaming(ai_calls.ai_tests, ai_reader)

    create_domain = Operation(gateway.create_domain)
    list_domains = Listing(gateway.list_domains)
    get_domain = Operation(gateway.get_domain)
    delete_domain = Operation(gateway.delete_domain)
    replace_gateway_routes = Operation(gateway.replace_gateway_routes)
    create_gateway_route = Operation(gateway.create_gateway_route)
    list_gateway_routes = Listing(gateway.list_gateway_routes)
    match_gateway_route = Operation(gateway.match_gateway_route)
    get_gateway_route = Operation(gateway.get_gateway_route)
    gateway_route_status = Operation(gateway.gateway_route_status)
    update_gateway_route = Operation(gateway.update_gateway_route)
    delete_gateway_route = Operation(gateway.delete_gateway_route)

    create_apikey = Operation(calls.create_apikey)
    list_apikeys = Listing(calls.list_apikeys)
    update_apikey = Operation(calls.update_apikey)
    delete_apikey = Operation(calls.delete_apikey)

    login = Operation(people_calls.login)
    list_login_providers = Operation(people_calls.list_login_providers)
    begin_oidc_login = Operation(people_calls.begin_oidc_login)
    finish_oidc_login = Operation(people_calls.finish_oidc_login)
    logout = Operation(people_calls.logout)
    change_password = Operation(people_calls.change_password)
    list_sessions = Listing(people_calls.list_sessions)
    end_session = Operation(people_calls.end_session)
    create_user = Operation(people_calls.create_user)
    list_users = Listing(people_calls.list_users)
    get_user = Operation(people_calls.get_user)
    update_user = Operation(people_calls.update_user)
    delete_user = Operation(people_calls.delete_user)
    reset_password = Operation(people_calls.reset_password)
    end_user_sessions = Operation(people_calls.end_user_sessions)
    rotate_apikey = Operation(people_calls.rotate_apikey)
    create_service_account = Operation(people_calls.create_service_account)
    list_service_accounts = Listing(people_calls.list_service_accounts)
    get_service_account = Operation(people_calls.get_service_account)
    update_service_account = Operation(people_calls.update_service_account)
    delete_service_account = Operation(people_calls.delete_service_account)
    my_permissions = Operation(people_calls.my_permissions)
    list_permissions = Operation(people_calls.list_permissions)
    list_roles = Listing(people_calls.list_roles)
    create_role = Operation(people_calls.create_role)
    get_role = Operation(people_calls.get_role)
    update_role = Operation(people_calls.update_role)
    delete_role = Operation(people_calls.delete_role)
    list_bindings = Listing(people_calls.list_bindings)
    create_binding = Operation(people_calls.create_binding)
    get_binding = Operation(people_calls.get_binding)
    delete_binding = Operation(people_calls.delete_binding)

    list_tenants = Listing(calls.list_tenants)
    create_tenant = Operation(calls.create_tenant)
    update_tenant = Operation(calls.update_tenant)
    delete_tenant = Operation(calls.delete_tenant)
    list_namespaces = Listing(calls.list_namespaces)
    create_namespace = Operation(calls.create_namespace)
    delete_namespace = Operation(calls.delete_namespace)

    invoke = Operation(calls.invoke)
    invoke_stream = Streaming(calls.invoke_stream, piece_reader)
    invoke_async = Operation(calls.invoke_async)
    list_function_async = Listing(calls.list_function_async)
    list_async = Listing(calls.list_async)
    get_async = Operation(calls.get_async)
    retry_async = Operation(calls.retry_async)
    redrive_async = Operation(calls.redrive_async)
    list_dead_async = Listing(calls.list_dead_async)
    purge_async = Operation(calls.purge_async)
    delete_async = Operation(calls.delete_async)
    pause_async = Operation(calls.pause_async)
    resume_async = Operation(calls.resume_async)
    async_summary = Operation(calls.async_summary)
    pause_all_async = Operation(calls.pause_all_async)
    resume_all_async = Operation(calls.resume_all_async)
    function_async_summary = Operation(calls.function_async_summary)
    pause_function_async = Operation(calls.pause_function_async)
    resume_function_async = Operation(calls.resume_function_async)
    prewarm = Operation(calls.prewarm)
    function_metrics = Operation(figures.function_metrics)
    metrics = Streaming(figures.metrics, bytes_reader)
    metrics_summary = Operation(figures.metrics_summary)
    invocations_summary = Operation(figures.invocations_summary)
    timeseries = Operation(figures.timeseries)
    diagnostics = Operation(figures.diagnostics)
    recommendations = Operation(figures.recommendations)
    function_heatmap = Operation(figures.function_heatmap)
    heatmap = Operation(figures.heatmap)
    function_cost = Operation(figures.function_cost)
    cost_summary = Operation(figures.cost_summary)
    list_versions = Listing(versions.list_versions)
    get_version = Operation(versions.get_version)
    get_version_code = Operation(versions.get_version_code)
    diff_versions = Operation(versions.diff_versions)
    activate_version = Operation(versions.activate_version)
    delete_version = Operation(versions.delete_version)
    rollback_function = Operation(versions.rollback_function)
    list_aliases = Listing(versions.list_aliases)
    get_alias = Operation(versions.get_alias)
    put_alias = Operation(versions.put_alias)
    promote_alias = Operation(versions.promote_alias)
    delete_alias = Operation(versions.delete_alias)
    start_canary = Operation(versions.start_canary)
    get_canary = Operation(versions.get_canary)
    list_canaries = Listing(versions.list_canaries)
    promote_canary = Operation(versions.promote_canary)
    cancel_canary = Operation(versions.cancel_canary)

    invoke_durable = Operation(executions.invoke_durable)
    list_executions = Listing(executions.list_executions)
    list_function_executions = Listing(executions.list_function_executions)
    get_execution = Operation(executions.get_execution)
    cancel_execution = Operation(executions.cancel_execution)
    retry_execution = Operation(executions.retry_execution)
    signal_execution = Operation(executions.signal_execution)
    list_state = Listing(executions.list_state)
    get_state = Operation(executions.get_state)
    put_state = Operation(executions.put_state)
    delete_state = Operation(executions.delete_state)
    list_shared_state = Listing(executions.list_shared_state)
    get_shared_state = Operation(executions.get_shared_state)
    put_shared_state = Operation(executions.put_shared_state)
    delete_shared_state = Operation(executions.delete_shared_state)
    list_invocations = Listing(calls.list_invocations)
    list_function_invocations = Listing(calls.list_function_invocations)
    list_logs = Listing(calls.list_logs)
    follow_logs = Streaming(calls.follow_logs, log_reader)

    create_topic = Operation(topics.create_topic)
    list_topics = Listing(topics.list_topics)
    get_topic = Operation(topics.get_topic)
    update_topic = Operation(topics.update_topic)
    delete_topic = Operation(topics.delete_topic)
    publish = Operation(topics.publish)
    publish_batch = Operation(topics.publish_batch)
    list_messages = Listing(topics.list_messages)
    create_subscription = Operation(topics.create_subscription)
    list_topic_subscriptions = Listing(topics.list_topic_subscriptions)
    list_subscriptions = Listing(topics.list_subscriptions)
    get_subscription = Operation(topics.get_subscription)
    update_subscription = Operation(topics.update_subscription)
    delete_subscription = Operation(topics.delete_subscription)
    pause_subscription = Operation(topics.pause_subscription)
    resume_subscription = Operation(topics.resume_subscription)
    list_deliveries = Listing(topics.list_deliveries)
    redrive_subscription = Operation(topics.redrive_subscription)
    replay_subscription = Operation(topics.replay_subscription)

    create_sandbox = Operation(boxes.create_sandbox)
    list_sandboxes = Listing(boxes.list_sandboxes)
    get_sandbox = Operation(boxes.get_sandbox)
    delete_sandbox = Operation(boxes.delete_sandbox)
    keep_sandbox = Operation(boxes.keep_sandbox)
    pause_sandbox = Operation(boxes.pause_sandbox)
    resume_sandbox = Operation(boxes.resume_sandbox)
    fork_sandbox = Operation(boxes.fork_sandbox)
    exec_sandbox = Streaming(boxes.exec_sandbox, exec_reader)
    run_sandbox_code = Streaming(boxes.run_sandbox_code, exec_reader)
    read_sandbox_file = Streaming(boxes.read_sandbox_file, bytes_reader)
    write_sandbox_file = Operation(boxes.write_sandbox_file)
    delete_sandbox_file = Operation(boxes.delete_sandbox_file)
    list_sandbox_files = Operation(boxes.list_sandbox_files)
    stat_sandbox_file = Operation(boxes.stat_sandbox_file)
    make_sandbox_directory = Operation(boxes.make_sandbox_directory)
    move_sandbox_file = Operation(boxes.move_sandbox_file)
    download_sandbox_archive = Streaming(boxes.download_sandbox_archive, bytes_reader)
    upload_sandbox_archive = Operation(boxes.upload_sandbox_archive)
    list_sandbox_processes = Operation(boxes.list_sandbox_processes)
    signal_sandbox_process = Operation(boxes.signal_sandbox_process)
    list_sandbox_ports = Operation(boxes.list_sandbox_ports)
    expose_sandbox_port = Operation(boxes.expose_sandbox_port)
    close_sandbox_port = Operation(boxes.close_sandbox_port)
