// An Express-like application on Node's own HTTP server. Prints its port when it listens.
const http = require('http')

const body = JSON.stringify({ rows: Array.from({ length: 200 }, (_, i) => ({ id: i, name: `row ${i}` })) })
const routes = {
  '/health': (request, response) => response.end('OK'),
  '/json': (request, response) => {
    response.setHeader('content-type', 'application/json; charset=utf-8')
    response.setHeader('content-length', Buffer.byteLength(body))
    response.end(request.method === 'HEAD' ? undefined : body)
  },
  '/echo': (request, response) => request.pipe(response),
  '/nothing': (request, response) => { response.statusCode = 204; response.end() },
}

const server = http.createServer((request, response) => {
  const route = routes[new URL(request.url, 'http://x').pathname]
  if (route) return route(request, response)
  response.statusCode = 404
  response.end('no such page')
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.on('SIGTERM', () => process.exit(0))
