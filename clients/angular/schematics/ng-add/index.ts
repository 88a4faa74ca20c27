/**
 * Implements `ng add @roomkey/angular`: the package's peers, the provider, and a proxy that sends
 * `/api` of the development server to a local roomkey.
 */
import { chain, noop, SchematicsException } from '@angular-devkit/schematics';
import type { Rule, SchematicContext, Tree } from '@angular-devkit/schematics';
import { NodePackageInstallTask } from '@angular-devkit/schematics/tasks';
import {
  addDependency,
  addRootProvider,
  DependencyType,
  ExistingBehavior,
  InstallBehavior,
  readWorkspace,
  updateWorkspace,
} from '@schematics/angular/utility';

interface Options {
  readonly project?: string;
  readonly url?: string;
}

const PROXY_FILE = 'proxy.conf.json';
const PROXY = { '/api': { target: 'http://127.0.0.1:7071', secure: false } };
/** The range of the peer dependency in package.json; a test compares the two. */
const LIVEKIT_RANGE = '^2.20.0';

/** Adds `livekit-client`, `provideRoomkey()` and `proxy.conf.json` to an app. */
export function ngAdd(options: Options): Rule {
  return async (tree: Tree) => {
    const workspace = await readWorkspace(tree);
    const apps = [...workspace.projects].filter(([, { extensions }]) => {
      return extensions['projectType'] === 'application';
    });
    const name = options.project ?? (apps.length === 1 ? apps[0]?.[0] : undefined);
    const project = name === undefined ? undefined : workspace.projects.get(name);
    if (name === undefined || !project) {
      throw new SchematicsException(
        `Name the app: ng add @roomkey/angular --project NAME (${apps.map(([app]) => app).join(', ')}).`,
      );
    }
    return chain([
      addDependency('livekit-client', LIVEKIT_RANGE, {
        type: DependencyType.Default,
        existing: ExistingBehavior.Skip,
        install: InstallBehavior.None,
      }),
      install,
      hasProvider(tree, project.sourceRoot ?? project.root)
        ? noop()
        : addRootProvider(name, ({ code, external }) => {
            const url = options.url ? `{ url: ${JSON.stringify(options.url)} }` : '';
            return code`${external('provideRoomkey', '@roomkey/angular')}(${url})`;
          }),
      // With an address of its own the service is asked directly, and CORS lets the page in.
      options.url ? noop() : addProxy(name, project.root),
    ]);
  };
}

function install(_: Tree, context: SchematicContext): void {
  context.addTask(new NodePackageInstallTask());
}

/** A second `ng add` must not add a second provider. */
function hasProvider(tree: Tree, folder: string): boolean {
  let isFound = false;
  tree.getDir(folder).visit((path) => {
    if (!isFound && path.endsWith('.ts') && !path.includes('/node_modules/')) {
      isFound = tree.readText(path).includes('provideRoomkey(');
    }
  });
  return isFound;
}

function addProxy(name: string, root: string): Rule {
  const path = root ? `${root}/${PROXY_FILE}` : PROXY_FILE;
  return chain([
    (tree: Tree, context: SchematicContext) => {
      if (!tree.exists(path)) {
        tree.create(path, `${JSON.stringify(PROXY, null, 2)}\n`);
        return;
      }
      const proxies: unknown = JSON.parse(tree.readText(path));
      if (typeof proxies !== 'object' || proxies === null || Array.isArray(proxies)) {
        context.logger.warn(`${path} is a list: add ${JSON.stringify(PROXY)} to it by hand.`);
      } else if (!('/api' in proxies)) {
        tree.overwrite(path, `${JSON.stringify({ ...proxies, ...PROXY }, null, 2)}\n`);
      } else if (JSON.stringify(proxies['/api']) !== JSON.stringify(PROXY['/api'])) {
        context.logger.warn(`${path} sends /api elsewhere already; it was left as it is.`);
      }
    },
    updateWorkspace((workspace) => {
      const serve = workspace.projects.get(name)?.targets.get('serve');
      if (serve && !serve.options?.['proxyConfig']) {
        serve.options = { ...serve.options, proxyConfig: path };
      }
    }),
  ]);
}
