return {
  ["dark-mode"] = { percent = 100 },
  ["new-search"] = { percent = 30, users = { "ada" } },
  ["old-editor"] = { percent = 0 },
}
