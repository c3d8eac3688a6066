export * from './function';
export * from './service';
export * from './settings';
