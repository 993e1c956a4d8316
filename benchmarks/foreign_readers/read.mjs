// Opens glTF files with Khronos' validator and .splatv files with gsplat.js; prints one JSON line per file.
import fs from 'fs';
import validator from 'gltf-validator';

globalThis.document = { createElement: () => ({}) };
globalThis.window = globalThis;

for (const path of process.argv.slice(2)) {
    const bytes = fs.readFileSync(path);
    if (path.endsWith('.glb')) {
        const report = await validator.validateBytes(new Uint8Array(bytes), { maxIssues: 0 });
        // the validator does not know KHR_gaussian_splatting, and calls its attributes invalid names
        const issues = report.issues.messages.filter((m) => m.severity < 2 && !(m.pointer ?? '').includes('KHR_gaussian_splatting'));
        console.log(JSON.stringify({ path, issues: issues.length, animations: report.info.animationCount, vertices: report.info.totalVertexCount }));
    } else {
        const { SplatvLoader } = await import('gsplat');
        let read = null;
        const exact = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
        SplatvLoader._ParseSplatvBuffer(exact, { addObject: (splats) => { read = splats; } }, null);
        const words = Array.from(read.data.data.slice(0, 16 * 4));
        console.log(JSON.stringify({ path, width: read.data.width, height: read.data.height, rows: read.data.vertexCount, words }));
    }
}
