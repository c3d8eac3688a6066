import { Duration } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { RetentionDays, LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

/** Properties of a function whose image carries the extension. */
export interface LambdaDispatchFunctionProps {
  /** The VPC of the router: the function calls the router back by its private address. */
  readonly vpc: ec2.IVpc;

  /** The application's image with the extension in it. */
  readonly code: lambda.DockerImageCode;

  /**
   * Subnets of the function.
   *
   * @default - private subnets with a way out
   */
  readonly vpcSubnets?: ec2.SubnetSelection;

  /**
   * MB; 1769 is one vCPU.
   *
   * @default 1769
   */
  readonly memorySize?: number;

  /**
   * How long an instance may live; long lives are few cold starts.
   *
   * @default Duration.minutes(15)
   */
  readonly timeout?: Duration;

  /**
   * @default Architecture.ARM_64
   */
  readonly architecture?: lambda.Architecture;

  /**
   * Environments at most, all routers together.
   *
   * @default - what the account has left
   */
  readonly reservedConcurrentExecutions?: number;

  /**
   * Variables of the application and the extension.
   *
   * @default - none
   */
  readonly environment?: { [key: string]: string };
}

/** A function in the router's VPC. Nothing reaches it; it reaches the router. */
export class LambdaDispatchFunction extends Construct implements ec2.IConnectable {
  public readonly function: lambda.DockerImageFunction;
  public readonly connections: ec2.Connections;

  constructor(scope: Construct, id: string, props: LambdaDispatchFunctionProps) {
    super(scope, id);
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', {
      vpc: props.vpc,
      description: 'lambda-dispatch: execution environments; nothing comes in',
    });
    this.function = new lambda.DockerImageFunction(this, 'Function', {
      code: props.code,
      vpc: props.vpc,
      vpcSubnets: props.vpcSubnets ?? { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
      securityGroups: [securityGroup],
      memorySize: props.memorySize ?? 1769,
      timeout: props.timeout ?? Duration.minutes(15),
      architecture: props.architecture ?? lambda.Architecture.ARM_64,
      reservedConcurrentExecutions: props.reservedConcurrentExecutions,
      environment: props.environment,
      logGroup: new LogGroup(this, 'Log', { retention: RetentionDays.ONE_MONTH }),
    });
    this.connections = this.function.connections;
  }
}
