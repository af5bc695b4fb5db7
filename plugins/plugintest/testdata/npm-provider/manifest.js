// What the plugin says of itself. The host evaluates this module once.
const configSchema = {
  type: "object",
  additionalProperties: false,
  properties: {
    root: { type: "string", pattern: "^/", description: "where the directories are made" },
    reuseLease: { type: "boolean", description: "keep the directory at a release" },
    token: { type: "string", format: "secret-ref", description: "a secret that the provider has no use for" },
    timeoutMs: { type: "integer", minimum: 1 },
  },
};

export default {
  id: "tenure-test.tmpdir",
  apiVersion: 1,
  version: "1.0.0",
  displayName: "Temporary directories",
  description: "A sandbox provider for tests: each sandbox is a temporary directory.",
  author: "Tenure",
  categories: ["automation"],
  capabilities: ["environment.drivers.register"],
  entrypoints: { worker: "./worker.js" },
  environmentDrivers: [
    {
      driverKey: "tmpdir",
      kind: "sandbox_provider",
      displayName: "Temporary directory",
      configSchema,
      supportsReusableLeases: true,
    },
  ],
};
