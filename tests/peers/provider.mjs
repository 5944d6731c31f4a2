// An OpenID provider on a free port of loopback. The first line it prints is its issuer; it ends with its standard input.
//
//   node provider.mjs [ALGORITHM] [LIFETIME]       the algorithm of signatures (RS256), seconds a token lives (600)
//
// Clients get tokens by client_credentials (client_id NAME, client_secret NAME-secret). With `resource`, that is the audience
// of a JWT; without one the token means nothing to those who don't ask at /token/introspection.
//
//   GET  /counts      how often the keys and the configuration were fetched: {"jwks": 1, "configuration": 1}
//   POST /rotate      signs with a new key from now on and says its name; the old keys are still published, unless ?drop

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

const [algorithm = 'RS256', lifetime = '600'] = process.argv.slice(2);
const ROLES = { alice: ['admin', 'reader'], bob: ['reader'], gateway: [] };
const SCOPES = 'read write';

// The provider prints advice for those who put it into production; the first line is ours.
console.info = console.warn = () => {};
const { default: Provider } = await import('oidc-provider');

const counts = { jwks: 0, configuration: 0 };
let keys = [newKey()];

const server = createServer(answer).listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
let provide = newProvider();
console.log(issuer);
process.stdin.resume().on('end', () => process.exit());

function newKey() {
  const { privateKey } = algorithm.startsWith('ES')
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: algorithm, use: 'sig' };
}

/// Its keys are given to a provider when it is made. Tokens are kept beside it, and outlive it.
function newProvider() {
  const provider = new Provider(issuer, {
    clients: Object.keys(ROLES).map((name) => ({
      client_id: name,
      client_secret: `${name}-secret`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      // Signatures that nobody asks for need keys too.
      id_token_signed_response_alg: algorithm,
    })),
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    cookies: { keys: ['unused'] },
    extraTokenClaims: (_, token) => ({ roles: ROLES[token.clientId] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === 'gateway' },
      resourceIndicators: { enabled: true, getResourceServerInfo },
    },
    jwks: { keys },
    routes: { jwks: '/jwks', token: '/token', introspection: '/token/introspection' },
    scopes: SCOPES.split(' '),
    ttl: { ClientCredentials: Number(lifetime) },
  });
  return provider.callback();
}

function getResourceServerInfo(_, audience) {
  return {
    audience,
    scope: SCOPES,
    accessTokenFormat: 'jwt',
    accessTokenTTL: Number(lifetime),
    jwt: { sign: { alg: algorithm, kid: keys[0].kid } },
  };
}

function answer(request, response) {
  const url = new URL(request.url, issuer);
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /counts':
      return response.end(JSON.stringify(counts));
    case 'POST /rotate':
      keys = [newKey(), ...(url.searchParams.has('drop') ? [] : keys)];
      provide = newProvider();
      return response.end(keys[0].kid);
    case 'GET /jwks':
      counts.jwks += 1;
      break;
    case 'GET /.well-known/openid-configuration':
      counts.configuration += 1;
      break;
  }
  return provide(request, response);
}
