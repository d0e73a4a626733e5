// build.mjs SOURCE WIT-FOLDER OUTPUT: the command line of the tool does not know the world's version, its API does.
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const [sourcePath, witPath, output] = process.argv.slice(2);
const { component } = await componentize({ sourcePath, witPath, worldName: "bindings" });
await writeFile(output, component);
