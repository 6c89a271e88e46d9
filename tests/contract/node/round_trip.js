// Reads {registry, subject, wire, value} as JSON: a record on the wire (base64), and an event (bytes do not occur in it).
// Writes {decoded, encoded}: what the record says, and the event on the wire by the newest schema of the subject.

const { SchemaRegistry } = require('@kafkajs/confluent-schema-registry');

async function main() {
  let said = '';
  for await (const part of process.stdin) said += part;
  const asked = JSON.parse(said);
  const registry = new SchemaRegistry({ host: asked.registry });
  const decoded = await registry.decode(Buffer.from(asked.wire, 'base64'));
  const encoded = await registry.encode(await registry.getLatestSchemaId(asked.subject), asked.value);
  process.stdout.write(JSON.stringify({ decoded, encoded: encoded.toString('base64') }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
