// Writes the minimal artifact of each deployable contract from forge's output: artifacts.mjs DIR
import fs from 'node:fs';

const NAMES = ['Court', 'DevUSD', 'ModelRegistry', 'StakeRegistry', 'Token', 'Vault'];
const MAX_RUNTIME = 24_576; // EIP-170

// Names of Solidity types say nothing that an encoder needs.
const strip = x => Array.isArray(x) ? x.map(strip)
  : x && typeof x === 'object' ? Object.fromEntries(Object.entries(x).filter(([k]) => k !== 'internalType').map(([k, v]) => [k, strip(v)]))
    : x;

const dir = process.argv[2];
for (const name of NAMES) {
  const { abi, bytecode, deployedBytecode, metadata } = JSON.parse(fs.readFileSync(`out/${name}.sol/${name}.json`));
  const runtimeLength = (deployedBytecode.object.length - 2) / 2;
  if (runtimeLength > MAX_RUNTIME) throw new Error(`${name}: ${runtimeLength} bytes of runtime, at most ${MAX_RUNTIME}`);
  if (!/^0x[0-9a-f]+$/.test(bytecode.object)) throw new Error(`${name}: creation code is not linked`);
  const compiler = `solc ${metadata.compiler.version}`;
  const items = strip(abi).map(item => '  ' + JSON.stringify(item)).join(',\n');
  fs.writeFileSync(`${dir}/${name}.json`, `{
 "name": ${JSON.stringify(name)},
 "abi": [
${items}
 ],
 "bytecode": "${bytecode.object}",
 "runtimeLength": ${runtimeLength},
 "compiler": ${JSON.stringify(compiler)}
}
`);
}
