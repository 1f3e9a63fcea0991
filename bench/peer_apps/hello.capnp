using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(
    name = "hello",
    worker = (modules = [(name = "hello.js", esModule = embed "hello.js")], compatibilityDate = "2026-01-01"),
  )],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "hello")],
);
