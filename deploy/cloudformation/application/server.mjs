// Any HTTP server that listens on PORT.
import { createServer } from 'node:http';

createServer((request, response) => {
  response.setHeader('content-type', 'text/plain');
  response.end(`hello from ${request.url}\n`);
}).listen(process.env.PORT ?? 3001, '127.0.0.1');
