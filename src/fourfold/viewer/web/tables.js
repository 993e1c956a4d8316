// Blocks of bytes back to tables of numbers: packing/blocks.py.

async function inflated(text) {
  const raw = Uint8Array.from(atob(text.trim()), c => c.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// tables by name: {rows, columns, data}, row after row, Int32Array or Float32Array
function readTables(sections, bytes) {
  const tables = new Map();
  for (const s of sections) {
    const [rows, columns] = s.shape, data = new Int32Array(rows * columns);
    for (let c = 0; c < columns; c++) {
      const start = s.offset + c * s.planes * rows;
      let last = 0;
      for (let r = 0; r < rows; r++) {
        let value = 0;
        for (let p = 0; p < s.planes; p++) value |= bytes[start + p * rows + r] << (8 * p);
        if (s.signed) value = value & 1 ? -(value >>> 1) - 1 : value >>> 1;
        if (s.delta) value = last = (last + value) | 0;
        data[r * columns + c] = value;
      }
    }
    tables.set(s.name, {rows, columns, data: s.float ? new Float32Array(data.buffer) : data});
  }
  return tables;
}
