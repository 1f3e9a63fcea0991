# The packages that the lock file names, or without one package.json, into node_modules beside the sources; their own
# scripts are not run.
cp -R /src/. /build/out/
chmod -R u+w /build/out
cd /build/out
export npm_config_cache=/build/npm npm_config_update_notifier=false
export npm_config_fetch_retry_mintimeout=1000 npm_config_fetch_retry_maxtimeout=5000
how=install
if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then how=ci; fi
node /run/tools/npm/bin/npm-cli.js "$how" --omit=dev --ignore-scripts --no-audit --no-fund --no-bin-links --install-links --no-progress
