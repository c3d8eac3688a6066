// npx cdk deploy --app 'npx ts-node app.ts' -c routerImage=... -c applicationImage=repository:tag
import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecr from 'aws-cdk-lib/aws-ecr';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { LambdaDispatchFunction, LambdaDispatchService } from '@lambda-dispatch/cdk';

const app = new App();
const stack = new Stack(app, 'LambdaDispatch');
const vpc = new ec2.Vpc(stack, 'Vpc');
const repository = ecr.Repository.fromRepositoryName(stack, 'Repository', 'lambda-dispatch/application');
const application = new LambdaDispatchFunction(stack, 'Application', { vpc, code: lambda.DockerImageCode.fromEcr(repository) });
const router = new LambdaDispatchService(stack, 'Router', {
  vpc,
  function: application.function,
  image: ecs.ContainerImage.fromRegistry(app.node.tryGetContext('routerImage') ?? 'lambda-dispatch-router'),
  settings: { minInstances: 1, maxInstances: 100 },
});
new CfnOutput(stack, 'Host', { value: router.loadBalancer!.loadBalancerDnsName });
