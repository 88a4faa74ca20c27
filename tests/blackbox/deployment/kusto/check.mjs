// Checks Kusto queries: `node check.mjs` reads a JSON list of [name, query] from stdin and writes a line for each fault.
// Names are resolved against the columns of Application Insights' tables that the queries may use.
import { createRequire } from 'node:module';
import { json } from 'node:stream/consumers';

const require = createRequire(import.meta.url);
require('@kusto/language-service-next/bridge.min');
require('@kusto/language-service-next/Kusto.Language.Bridge.min');
const { Kusto } = globalThis;
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

// Source: https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete, the names in a component's own scope.
const tables = {
  traces:
    '(timestamp: datetime, message: string, severityLevel: int, customDimensions: dynamic, operation_Id: string, operation_Name: string, cloud_RoleName: string, cloud_RoleInstance: string)',
  requests:
    '(timestamp: datetime, id: string, name: string, url: string, success: string, resultCode: string, duration: real, customDimensions: dynamic, operation_Id: string, operation_Name: string, cloud_RoleName: string, cloud_RoleInstance: string)',
};
const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(columns).WithName(name));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor('component', symbols));

for (const [name, query] of await json(process.stdin)) {
  const diagnostics = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  for (let index = 0; index < diagnostics.Count; index += 1) {
    console.log(`${name}: ${diagnostics.getItem(index).Message}`);
  }
}
